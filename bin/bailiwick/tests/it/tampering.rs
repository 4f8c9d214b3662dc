//! A server that shows one thing and means another: it stands between a command and the real server, and edits answers.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    thread,
};

/// Passes requests on to the real server's socket and edits what comes back.
pub(crate) struct Tampering {
    socket: PathBuf,
}

impl Tampering {
    /// Listens beside the real server. Every answer's body goes through `edit`.
    pub(crate) fn beside(
        real: &Path,
        name: &str,
        edit: impl Fn(String) -> String + Send + 'static,
    ) -> Self {
        let (real, socket) = (real.to_owned(), real.with_file_name(name));
        let listener = UnixListener::bind(&socket).unwrap();
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming() {
                pass_on(client.unwrap(), &real, &edit);
            }
        });
        Self { socket }
    }

    /// What `--server` takes.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }
}

/// One request and its answer; the connection ends with it.
fn pass_on(mut client: UnixStream, real: &Path, edit: &impl Fn(String) -> String) {
    let (head, body) = read_message(&mut client);
    let mut server = UnixStream::connect(real).unwrap();
    let request = format!("{}\r\nconnection: close\r\n\r\n", head.trim_end());
    server.write_all(request.as_bytes()).unwrap();
    server.write_all(&body).unwrap();
    let (head, body) = read_message(&mut server);
    let body = edit(String::from_utf8(body).unwrap());
    let kept = head.trim_end().split("\r\n").filter(|line| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("content-length:") && !line.starts_with("connection:")
    });
    let head: Vec<&str> = kept.collect();
    let answer = format!(
        "{}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        head.join("\r\n"),
        body.len()
    );
    client.write_all(answer.as_bytes()).unwrap();
}

/// Head and body of a message whose length is told.
fn read_message(stream: &mut UnixStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "the message broke off");
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}
