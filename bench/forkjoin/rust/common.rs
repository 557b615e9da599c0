// bench/forkjoin/rust/common.rs: what both programs share; the same as ../common.h, which says what they print.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub fn curve(x: f64) -> f64 {
    (x * x + 1.0) * x
}

#[derive(Clone, Copy, Default)]
pub struct Board {
    columns: u32,
    left: u32,
    right: u32,
}

impl Board {
    pub fn children(self, n: u32) -> Vec<Board> {
        let mut rest = !(self.columns | self.left | self.right) & ((1 << n) - 1);
        let mut kids = Vec::with_capacity(rest.count_ones() as usize);
        while rest != 0 {
            let bit = rest & rest.wrapping_neg();
            kids.push(Board { columns: self.columns | bit, left: (self.left | bit) << 1, right: (self.right | bit) >> 1 });
            rest &= rest - 1;
        }
        kids
    }
}

pub fn uts_child(node: u64, i: u32) -> u64 {
    let mut h = node.wrapping_add((i as u64 + 1).wrapping_mul(0x9E3779B97F4A7C15));
    for _ in 0..8 {
        h = (h ^ (h >> 30)).wrapping_mul(0xBF58476D1CE4E5B9);
        h = (h ^ (h >> 27)).wrapping_mul(0x94D049BB133111EB);
        h ^= h >> 31;
    }
    h
}

pub fn uts_geo_children(node: u64, levels: u32) -> u32 {
    let mut n = 0;
    let mut chance = (1u64 << 32) * 4 / 5;
    while levels > 0 && n < 64 && node >> 32 < chance {
        n += 1;
        chance = chance * 4 / 5;
    }
    n
}

pub fn uts_bin_children(node: u64) -> u32 {
    if node >> 32 < 536334041 { 8 } else { 0 }
}

pub const UTS_GEO_SEED: u64 = 901;
pub const UTS_BIN_SEED: u64 = 165;

pub fn scramble(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7FEB352D);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846CA68B);
    x ^ (x >> 16)
}

static UNTIMED_NS: AtomicU64 = AtomicU64::new(0);

pub fn untimed<T>(f: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let r = f();
    UNTIMED_NS.fetch_add(began.elapsed().as_nanos() as u64, Relaxed);
    r
}

pub fn loop_items(n: u32) -> Vec<u32> {
    untimed(|| (0..n).collect())
}

pub fn loop_sum(items: &[u32]) -> f64 {
    untimed(|| items.iter().fold(0u32, |sum, x| sum.wrapping_add(*x)) as f64)
}

pub fn busy() -> u32 {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2) {}
    1
}

fn sizes(name: &str) -> Option<(u32, u32)> {
    Some(match name {
        "fib" => (15, 34),
        "skynet" => (3, 6),
        "nqueens" => (6, 12),
        "integrate" => (1, 9),
        "uts-geo" => (4, 10),
        "uts-bin" => (20, 2000),
        "loop" => (1000, 10000000),
        "coarse" => (2, 8),
        _ => return None,
    })
}

fn fib_of(n: u32) -> f64 {
    (0..n).fold((0.0, 1.0), |(a, b), _| (b, a + b)).0
}

fn known(name: &str, n: u32) -> (f64, f64) {
    let leaves = 10f64.powi(n as i32);
    match (name, n) {
        ("fib", _) => (fib_of(n), fib_of(n + 1) - 1.0),
        ("skynet", _) => (leaves * (leaves - 1.0) / 2.0, (leaves * 10.0 - 10.0) / 9.0),
        ("coarse", _) => (n as f64, n as f64),
        ("nqueens", 6) => (4.0, 152.0),
        ("nqueens", 9) => (352.0, 8393.0),
        ("nqueens", 12) => (14200.0, 856188.0),
        ("integrate", 1) => (250000500000.0, 15102.0),
        ("integrate", 3) => (250000500000.0, 78601.0),
        ("integrate", 6) => (250000500000.0, 833653.0),
        ("integrate", 9) => (250000500000.0, 7508195.0),
        ("loop", 1000) => (4213671392.0, 1000.0),
        ("loop", 1000000) => (1937170287.0, 1000000.0),
        ("loop", 10000000) => (1938437384.0, 10000000.0),
        ("uts-geo", 4) => (1043.0, 1042.0),
        ("uts-geo", 6) => (16361.0, 16360.0),
        ("uts-geo", 10) => (4160892.0, 4160891.0),
        ("uts-bin", 20) => (213.0, 212.0),
        ("uts-bin", 100) => (26861.0, 26860.0),
        ("uts-bin", 2000) => (4006121.0, 4006120.0),
        _ => panic!("{} {}: no known result", name, n),
    }
}

fn peak_rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

pub struct Plan {
    pub name: String,
    pub workers: usize,
    warm_up: u32,
    size: u32,
    took_ns: u128,
}

pub fn plan() -> Plan {
    let args: Vec<String> = std::env::args().collect();
    if args.len() < 3 {
        eprintln!("usage: {} WORKLOAD WORKERS [SIZE]", args[0]);
        std::process::exit(2);
    }
    let (warm_up, size) = sizes(&args[1]).unwrap_or_else(|| std::process::exit(3));
    let size = args.get(3).map_or(size, |s| s.parse().expect("SIZE"));
    Plan { name: args[1].clone(), workers: args[2].parse().expect("WORKERS"), warm_up, size, took_ns: 0 }
}

impl Plan {
    /// The timed run, after a warm-up; where the workloads may run: inside the pool.
    pub fn run(&mut self, run: impl Fn(&str, u32) -> f64) {
        run(&self.name, self.warm_up);
        UNTIMED_NS.store(0, Relaxed);
        let began = Instant::now();
        let result = run(&self.name, self.size);
        self.took_ns = began.elapsed().as_nanos() - UNTIMED_NS.load(Relaxed) as u128;
        let (want, _) = known(&self.name, self.size);
        let slack = if self.name == "integrate" { want * 1e-9 } else { 0.0 };
        if (result - want).abs() > slack {
            eprintln!("{} {}: {}, not {}", self.name, self.size, result, want);
            std::process::exit(1);
        }
    }

    pub fn print(&self) {
        let (_, tasks) = known(&self.name, self.size);
        println!("{} {} {} {} {}", self.name, self.workers, self.took_ns, tasks, peak_rss_kb());
    }
}
