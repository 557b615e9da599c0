// bench/forkjoin/go/main.go: the workloads as goroutines, one per child, joined by a WaitGroup. The sizes, trees and results
// are those of ../common.h, which says what the program prints.
package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func fib(n int) int {
	if n < 2 {
		return n
	}
	var a int
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		a = fib(n - 1)
		group.Done()
	}()
	b := fib(n - 2)
	group.Wait()
	return a + b
}

// A join of n children: child(i) runs in a goroutine of its own and returns its part of the sum.
func fork(n int, child func(i int) int) int {
	parts := make([]int, n)
	var group sync.WaitGroup
	group.Add(n)
	for i := 0; i < n; i++ {
		go func(i int) {
			parts[i] = child(i)
			group.Done()
		}(i)
	}
	group.Wait()
	sum := 0
	for _, part := range parts {
		sum += part
	}
	return sum
}

func skynet(first, leaves int) int {
	if leaves == 1 {
		return first
	}
	return fork(10, func(i int) int { return skynet(first+i*(leaves/10), leaves/10) })
}

type board struct{ columns, left, right uint32 }

func queens(b board, n, rows int) int {
	if rows == 0 {
		return 1
	}
	var kids [16]board
	children := 0
	for rest := ^(b.columns | b.left | b.right) & (1<<n - 1); rest != 0; rest &= rest - 1 {
		bit := rest & -rest
		kids[children] = board{b.columns | bit, (b.left | bit) << 1, (b.right | bit) >> 1}
		children++
	}
	return fork(children, func(i int) int { return queens(kids[i], n, rows-1) })
}

func curve(x float64) float64 { return (x*x + 1) * x }

func integrate(x1, y1, x2, y2, area, err float64) float64 {
	half := (x2 - x1) / 2
	x0 := x1 + half
	y0 := curve(x0)
	left := (y1 + y0) / 2 * half
	right := (y0 + y2) / 2 * half
	if math.Abs(left+right-area) < err {
		return left + right
	}
	var a float64
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		a = integrate(x1, y1, x0, y0, left, err)
		group.Done()
	}()
	b := integrate(x0, y0, x2, y2, right, err)
	group.Wait()
	return a + b
}

func utsChild(node uint64, i int) uint64 {
	h := node + uint64(i+1)*0x9E3779B97F4A7C15
	for round := 0; round < 8; round++ {
		h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9
		h = (h ^ (h >> 27)) * 0x94D049BB133111EB
		h ^= h >> 31
	}
	return h
}

func geo(node uint64, levels int) int {
	n := 0
	if levels > 0 {
		for chance := uint64(1) << 32 * 4 / 5; n < 64 && node>>32 < chance; chance = chance * 4 / 5 {
			n++
		}
	}
	if n == 0 {
		return 1
	}
	return 1 + fork(n, func(i int) int { return geo(utsChild(node, i), levels-1) })
}

func bin(node uint64, n int) int {
	if n == 0 {
		return 1
	}
	return 1 + fork(n, func(i int) int {
		child := utsChild(node, i)
		if child>>32 < 536334041 {
			return bin(child, 8)
		}
		return bin(child, 0)
	})
}

var untimed time.Duration

func scramble(x uint32) uint32 {
	x = (x ^ (x >> 16)) * 0x7FEB352D
	x = (x ^ (x >> 15)) * 0x846CA68B
	return x ^ (x >> 16)
}

// There is no parallel loop: a few goroutines per worker.
func loop(n int) uint32 {
	began := time.Now()
	items := make([]uint32, n)
	for i := range items {
		items[i] = uint32(i)
	}
	untimed += time.Since(began)
	pieces := runtime.GOMAXPROCS(0) * 8
	fork(pieces, func(p int) int {
		piece := items[n*p/pieces : n*(p+1)/pieces]
		for i := range piece {
			piece[i] = scramble(piece[i])
		}
		return 0
	})
	began = time.Now()
	sum := uint32(0)
	for _, item := range items {
		sum += item
	}
	untimed += time.Since(began)
	return sum
}

func coarse(n int) int {
	var done int64
	fork(n, func(int) int {
		for until := time.Now().Add(2 * time.Millisecond); time.Now().Before(until); {
		}
		atomic.AddInt64(&done, 1)
		return 0
	})
	return int(done)
}

// A workload: how it runs, sizes of the warm-up and by default.
type workload struct {
	run          func(n int) float64
	warmUp, size int
}

var workloads = map[string]workload{
	"fib":     {func(n int) float64 { return float64(fib(n)) }, 15, 27},
	"skynet":  {func(n int) float64 { return float64(skynet(0, int(math.Pow10(n)))) }, 3, 6},
	"nqueens": {func(n int) float64 { return float64(queens(board{}, n, n)) }, 6, 12},
	"integrate": {func(n int) float64 {
		return integrate(0, curve(0), 1000, curve(1000), 0, math.Pow10(-n))
	}, 1, 6},
	"uts-geo": {func(n int) float64 { return float64(geo(utsChild(901, 0), n)) }, 4, 10},
	"uts-bin": {func(n int) float64 { return float64(bin(165, n)) }, 20, 2000},
	"loop":    {func(n int) float64 { return float64(loop(n)) }, 1000, 10000000},
	"coarse":  {func(n int) float64 { return float64(coarse(n)) }, 2, 8},
}

// The results and spawns that no formula gives.
var known = map[string]map[int][2]float64{
	"nqueens":   {6: {4, 152}, 9: {352, 8393}, 12: {14200, 856188}},
	"integrate": {1: {250000500000, 15102}, 3: {250000500000, 78601}, 6: {250000500000, 833653}, 9: {250000500000, 7508195}},
	"loop":      {1000: {4213671392, 1000}, 1000000: {1937170287, 1000000}, 10000000: {1938437384, 10000000}},
	"uts-geo":   {4: {1043, 1042}, 6: {16361, 16360}, 10: {4160892, 4160891}},
	"uts-bin":   {20: {213, 212}, 100: {26861, 26860}, 2000: {4006121, 4006120}},
}

func expected(name string, n int) (result, tasks float64) {
	switch name {
	case "fib":
		a, b := 0, 1
		for i := 0; i < n; i++ {
			a, b = b, a+b
		}
		return float64(a), float64(b - 1)
	case "skynet":
		leaves := math.Pow10(n)
		return leaves * (leaves - 1) / 2, (leaves*10 - 10) / 9
	case "coarse":
		return float64(n), float64(n)
	}
	k, ok := known[name][n]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s %d: no known result\n", name, n)
		os.Exit(1)
	}
	return k[0], k[1]
}

func peakRSS() string {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			return strings.Fields(line)[1]
		}
	}
	return "0"
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: main WORKLOAD WORKERS [SIZE]")
		os.Exit(2)
	}
	name := os.Args[1]
	w, ok := workloads[name]
	if !ok {
		os.Exit(3)
	}
	workers, _ := strconv.Atoi(os.Args[2])
	if len(os.Args) > 3 {
		w.size, _ = strconv.Atoi(os.Args[3])
	}
	want, tasks := expected(name, w.size)
	runtime.GOMAXPROCS(workers)

	w.run(w.warmUp)
	untimed = 0
	began := time.Now()
	got := w.run(w.size)
	took := time.Since(began) - untimed

	slack := 0.0
	if name == "integrate" {
		slack = 1e-9
	}
	if math.Abs(got-want) > want*slack {
		fmt.Fprintf(os.Stderr, "%s %d: %v, not %v\n", name, w.size, got, want)
		os.Exit(1)
	}
	fmt.Println(name, workers, took.Nanoseconds(), int(tasks), peakRSS())
}
