// bench/forkjoin/rust/tokio.rs: the workloads as tokio tasks on its multi-threaded runtime, one per child.
mod common;
use common::*;
use std::future::Future;
use std::pin::Pin;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

fn fib(n: u32) -> Boxed<u64> {
    Box::pin(async move {
        if n < 2 {
            return n as u64;
        }
        let a = tokio::spawn(fib(n - 1));
        let b = fib(n - 2).await;
        a.await.unwrap() + b
    })
}

async fn fork(n: u32, child: impl Fn(u32) -> Boxed<u64>) -> u64 {
    let kids: Vec<_> = (0..n).map(|i| tokio::spawn(child(i))).collect();
    let mut sum = 0;
    for kid in kids {
        sum += kid.await.unwrap();
    }
    sum
}

fn skynet(first: u64, leaves: u64) -> Boxed<u64> {
    Box::pin(async move {
        if leaves == 1 {
            return first;
        }
        fork(10, |i| skynet(first + i as u64 * (leaves / 10), leaves / 10)).await
    })
}

fn queens(b: Board, n: u32, rows: u32) -> Boxed<u64> {
    Box::pin(async move {
        if rows == 0 {
            return 1;
        }
        let kids = b.children(n);
        fork(kids.len() as u32, |i| queens(kids[i as usize], n, rows - 1)).await
    })
}

fn integrate(x1: f64, y1: f64, x2: f64, y2: f64, area: f64, error: f64) -> Boxed<f64> {
    Box::pin(async move {
        let half = (x2 - x1) / 2.0;
        let x0 = x1 + half;
        let y0 = curve(x0);
        let left = (y1 + y0) / 2.0 * half;
        let right = (y0 + y2) / 2.0 * half;
        if (left + right - area).abs() < error {
            return left + right;
        }
        let a = tokio::spawn(integrate(x1, y1, x0, y0, left, error));
        let b = integrate(x0, y0, x2, y2, right, error).await;
        a.await.unwrap() + b
    })
}

fn geo(node: u64, levels: u32) -> Boxed<u64> {
    Box::pin(async move { 1 + fork(uts_geo_children(node, levels), |i| geo(uts_child(node, i), levels - 1)).await })
}

fn bin(node: u64, n: u32) -> Boxed<u64> {
    let child = move |i| {
        let child = uts_child(node, i);
        bin(child, uts_bin_children(child))
    };
    Box::pin(async move { 1 + fork(n, child).await })
}

/// There is no parallel loop: a few tasks per worker, each of which owns its piece.
async fn parallel_loop(n: u32, workers: u32) -> f64 {
    let pieces = workers * 8;
    let split = |p: u32| (n as u64 * p as u64 / pieces as u64) as usize;
    let items = loop_items(n);
    let owned: Vec<Vec<u32>> = untimed(|| (0..pieces).map(|p| items[split(p)..split(p + 1)].to_vec()).collect());
    let scrambled = |mut piece: Vec<u32>| async move {
        piece.iter_mut().for_each(|x| *x = scramble(*x));
        piece
    };
    let kids: Vec<_> = owned.into_iter().map(|piece| tokio::spawn(scrambled(piece))).collect();
    let mut sum = 0.0;
    for kid in kids {
        sum += loop_sum(&kid.await.unwrap());
    }
    sum % 4294967296.0
}

async fn run(name: String, n: u32, workers: u32) -> f64 {
    match name.as_str() {
        "fib" => fib(n).await as f64,
        "skynet" => skynet(0, 10u64.pow(n)).await as f64,
        "nqueens" => queens(Board::default(), n, n).await as f64,
        "integrate" => integrate(0.0, curve(0.0), 1000.0, curve(1000.0), 0.0, 10f64.powi(-(n as i32))).await,
        "uts-geo" => geo(uts_child(UTS_GEO_SEED, 0), n).await as f64,
        "uts-bin" => bin(UTS_BIN_SEED, n).await as f64,
        "loop" => parallel_loop(n, workers).await,
        "coarse" => fork(n, |_| Box::pin(async { busy() as u64 })).await as f64,
        _ => unreachable!(),
    }
}

fn main() {
    let mut plan = plan();
    let workers = plan.workers;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).build().unwrap();
    // As a task: block_on() alone would leave the root on a thread that is not a worker.
    plan.run(|name, n| runtime.block_on(runtime.spawn(run(name.to_string(), n, workers as u32))).unwrap());
    plan.print();
}
