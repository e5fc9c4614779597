//! The floor: a TCP echo on smol that knows nothing of signals.

use std::io;

use lameduck_compare::{BUFFER, PAUSE, address};
use smol::Timer;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

fn main() -> io::Result<()> {
    smol::block_on(async {
        let listener = TcpListener::bind(address()?).await?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => smol::spawn(echo(stream)).detach(),
                Err(error) => {
                    eprintln!("accept: {error}");
                    Timer::after(PAUSE).await;
                }
            }
        }
    })
}
