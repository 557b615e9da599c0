// bench/servers/rust/tokio.rs PORT: echo on tokio, one worker on the calling thread.
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn echo(mut c: TcpStream) {
    let mut buf = [0u8; 4096];
    loop {
        match c.read(&mut buf).await {
            Ok(n) if n > 0 => {
                if c.write_all(&buf[..n]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

async fn serve(port: &str) {
    let l = TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    loop {
        let (c, _) = l.accept().await.unwrap();
        c.set_nodelay(true).unwrap();
        tokio::spawn(echo(c));
    }
}

fn main() {
    let port = std::env::args().nth(1).unwrap();
    let rt = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    rt.block_on(serve(&port));
}
