//! What a server prints: read to the end, and the last lines kept.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const LINES: usize = 20;
const LINE_LENGTH: usize = 400;

/// The last lines of a server's output.
#[derive(Debug)]
pub(crate) struct Output {
    tail: Arc<Mutex<VecDeque<String>>>,
    /// Disconnected once every stream has ended.
    ended: Receiver<()>,
}

impl Output {
    /// A thread for each stream: a full pipe would hold up the server.
    pub(crate) fn follow(streams: Vec<Box<dyn Read + Send>>) -> Output {
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, ended) = channel();
        for stream in streams {
            let (tail, sender) = (tail.clone(), sender.clone());
            thread::spawn(move || follow(stream, &tail, sender));
        }
        Output { tail, ended }
    }

    /// The last lines; after `patience` also when somebody still holds a stream.
    pub(crate) fn tail(&self, patience: Duration) -> Vec<String> {
        let _ = self.ended.recv_timeout(patience);
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().cloned().collect()
    }
}

fn follow(mut stream: Box<dyn Read + Send>, tail: &Mutex<VecDeque<String>>, _open: Sender<()>) {
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = match stream.read(&mut chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
            Ok(n) => chunk.get(..n).unwrap_or_default(),
        };
        for byte in read {
            match byte {
                b'\n' => push(tail, &mut line),
                _ if line.len() < LINE_LENGTH => line.push(*byte),
                _ => {}
            }
        }
    }
    push(tail, &mut line);
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
        let text: String = (0..50).map(|n| format!("line {n}\n")).collect();
        let output = Output::follow(vec![Box::new(std::io::Cursor::new(text))]);
        let tail = output.tail(Duration::from_secs(10));
        assert_eq!(tail.len(), LINES);
        assert_eq!(tail.last().map(String::as_str), Some("line 49"));
    }
}
