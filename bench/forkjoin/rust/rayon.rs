// bench/forkjoin/rust/rayon.rs: the workloads on rayon: join() for two, a parallel iterator split down to single items for
// many children, the plain parallel iterator for the loop.
mod common;
use common::*;
use rayon::prelude::*;

fn fib(n: u32) -> u64 {
    if n < 2 {
        return n as u64;
    }
    let (a, b) = rayon::join(|| fib(n - 1), || fib(n - 2));
    a + b
}

fn fork(n: u32, child: impl Fn(u32) -> u64 + Send + Sync) -> u64 {
    (0..n).into_par_iter().with_max_len(1).map(child).sum()
}

fn skynet(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    fork(10, |i| skynet(first + i as u64 * (leaves / 10), leaves / 10))
}

fn queens(b: Board, n: u32, rows: u32) -> u64 {
    if rows == 0 {
        return 1;
    }
    let kids = b.children(n);
    fork(kids.len() as u32, |i| queens(kids[i as usize], n, rows - 1))
}

fn integrate(x1: f64, y1: f64, x2: f64, y2: f64, area: f64, error: f64) -> f64 {
    let half = (x2 - x1) / 2.0;
    let x0 = x1 + half;
    let y0 = curve(x0);
    let left = (y1 + y0) / 2.0 * half;
    let right = (y0 + y2) / 2.0 * half;
    if (left + right - area).abs() < error {
        return left + right;
    }
    let (a, b) = rayon::join(|| integrate(x1, y1, x0, y0, left, error), || integrate(x0, y0, x2, y2, right, error));
    a + b
}

fn geo(node: u64, levels: u32) -> u64 {
    1 + fork(uts_geo_children(node, levels), |i| geo(uts_child(node, i), levels - 1))
}

fn bin(node: u64, n: u32) -> u64 {
    1 + fork(n, |i| {
        let child = uts_child(node, i);
        bin(child, uts_bin_children(child))
    })
}

fn parallel_loop(n: u32) -> f64 {
    let mut items = loop_items(n);
    items.par_iter_mut().for_each(|x| *x = scramble(*x));
    loop_sum(&items)
}

fn run(name: &str, n: u32) -> f64 {
    match name {
        "fib" => fib(n) as f64,
        "skynet" => skynet(0, 10u64.pow(n)) as f64,
        "nqueens" => queens(Board::default(), n, n) as f64,
        "integrate" => integrate(0.0, curve(0.0), 1000.0, curve(1000.0), 0.0, 10f64.powi(-(n as i32))),
        "uts-geo" => geo(uts_child(UTS_GEO_SEED, 0), n) as f64,
        "uts-bin" => bin(UTS_BIN_SEED, n) as f64,
        "loop" => parallel_loop(n),
        "coarse" => fork(n, |_| busy() as u64) as f64,
        _ => unreachable!(),
    }
}

fn main() {
    let mut plan = plan();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(plan.workers).build().unwrap();
    pool.install(|| plan.run(run));
    plan.print();
}
