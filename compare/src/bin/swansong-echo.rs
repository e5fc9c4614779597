//! A TCP echo on smol, stopped by swansong.

use std::io;

use async_signal::{Signal, Signals};
use lameduck_compare::{BUFFER, PAUSE, address};
use smol::Timer;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use smol::stream::StreamExt;
use swansong::Swansong;

async fn echo(mut stream: TcpStream, swansong: Swansong) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    // The future is wrapped, not the stream: a wrapped stream is asked again only
    // when its peer moves, and would keep an idle connection open.
    while let Some(read) = swansong.interrupt(stream.read(&mut buffer)).await {
        let n = read?;
        if n == 0 {
            break;
        }
        stream.write_all(&buffer[..n]).await?;
    }
    stream.close().await
}

async fn serve(listener: TcpListener, swansong: Swansong) {
    let mut incoming = swansong.interrupt(listener.incoming());
    while let Some(accepted) = incoming.next().await {
        match accepted {
            Ok(stream) => {
                let connection = echo(stream, swansong.clone());
                smol::spawn(swansong.guarded(connection)).detach();
            }
            Err(error) => {
                eprintln!("accept: {error}");
                Timer::after(PAUSE).await;
            }
        }
    }
}

fn main() -> io::Result<()> {
    smol::block_on(async {
        let mut signals = Signals::new([Signal::Term, Signal::Int])?;
        let listener = TcpListener::bind(address()?).await?;
        let swansong = Swansong::new();
        smol::spawn(swansong.guarded(serve(listener, swansong.clone()))).detach();
        signals.next().await;
        swansong.shut_down().await;
        Ok(())
    })
}
