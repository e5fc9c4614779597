//! What a server prints: read to the end, and the last lines kept.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use smol::{Async, Task};

const LINES: usize = 20;
const LINE_LENGTH: usize = 400;

/// More than any pipe holds.
const PIPE_LIMIT: usize = 64 << 20;

type Tail = Arc<Mutex<VecDeque<String>>>;

/// The last lines of a server's output.
#[derive(Debug)]
pub(crate) struct Output {
    tail: Tail,
    streams: Vec<Arc<Async<OwnedFd>>>,
    readers: Vec<Task<()>>,
    /// Disconnected once every stream has ended.
    ended: Receiver<()>,
}

impl Output {
    /// Reads streams as they come: a full pipe would hold up the server.
    ///
    /// # Errors
    /// A stream cannot be watched.
    pub(crate) fn follow(streams: Vec<OwnedFd>) -> io::Result<Output> {
        let tail = Tail::default();
        let (sender, ended) = channel();
        let mut output = Output {
            tail: tail.clone(),
            streams: Vec::new(),
            readers: Vec::new(),
            ended,
        };
        for stream in streams {
            let stream = Arc::new(Async::new(stream)?);
            let reader = follow(stream.clone(), tail.clone(), sender.clone());
            output.readers.push(smol::spawn(reader));
            output.streams.push(stream);
        }
        Ok(output)
    }

    /// Returns the last lines; after `patience` also when a stream is still open.
    pub(crate) fn tail(&self, patience: Duration) -> Vec<String> {
        let _ = self.ended.recv_timeout(patience);
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().cloned().collect()
    }

    /// Reads no more, and fills the pipes: the next line that the server prints has to
    /// wait, as with a reader that has stopped.
    ///
    /// # Errors
    /// The system has no way to open a pipe a second time.
    pub(crate) async fn stop_reading(&mut self) -> io::Result<()> {
        for reader in self.readers.drain(..) {
            reader.cancel().await;
        }
        for stream in &self.streams {
            // A description of our own: the server's stays a blocking one.
            let path = format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd());
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let pipe = rustix::fs::open(path, flags, Mode::empty())?;
            fill(&pipe)?;
        }
        Ok(())
    }
}

fn fill(pipe: &OwnedFd) -> io::Result<()> {
    // The last bytes one by one: a write that does not fit at once may write nothing.
    for size in [4096, 1] {
        let chunk = vec![b'.'; size];
        for _ in 0..PIPE_LIMIT / size {
            match rustix::io::write(pipe, &chunk) {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

async fn follow(stream: Arc<Async<OwnedFd>>, tail: Tail, _open: Sender<()>) {
    let mut line = Vec::new();
    let mut is_cut = false;
    let mut chunk = [0; 4096];
    loop {
        let read = stream
            .read_with(|fd| Ok(rustix::io::read(fd, &mut chunk)?))
            .await;
        let read = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
            Ok(n) => chunk.get(..n).unwrap_or_default(),
        };
        for byte in read {
            match byte {
                b'\n' => {
                    push(&tail, &mut line);
                    is_cut = false;
                }
                _ if is_cut => {}
                _ => {
                    line.push(*byte);
                    // A line without an end is told as far as it goes.
                    is_cut = line.len() == LINE_LENGTH;
                    if is_cut {
                        push(&tail, &mut line);
                    }
                }
            }
        }
    }
    push(&tail, &mut line);
}

fn push(tail: &Mutex<VecDeque<String>>, line: &mut Vec<u8>) {
    if line.is_empty() {
        return;
    }
    let text = String::from_utf8_lossy(line).into_owned();
    // Control characters of a server have no business on our terminal.
    let text = text.chars().filter(|c| !c.is_control()).collect();
    line.clear();
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    if tail.len() == LINES {
        tail.pop_front();
    }
    tail.push_back(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let (reader, writer) = std::io::pipe().unwrap();
        let output = Output::follow(vec![reader.into()]).unwrap();
        let text: String = (0..50).map(|n| format!("line {n}\n")).collect();
        io::Write::write_all(&mut &writer, text.as_bytes()).unwrap();
        drop(writer);
        let tail = output.tail(Duration::from_secs(10));
        assert_eq!(tail.len(), LINES);
        assert_eq!(tail.last().map(String::as_str), Some("line 49"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_that_is_not_read_takes_no_byte_more() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut output = Output::follow(vec![reader.into()]).unwrap();
        smol::block_on(output.stop_reading()).unwrap();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        let again = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        let written = rustix::io::write(&again, b"x");
        assert_eq!(written, Err(rustix::io::Errno::AGAIN));
    }
}
