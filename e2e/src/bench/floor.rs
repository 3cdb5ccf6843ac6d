//! The floor: what moving the bytes costs by itself. A server that takes bytes from a socket and writes them to a file,
//! and sends a file back with `sendfile`, and does nothing else; no protocol, no check, no index.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::fs::sendfile;

use crate::load::Cost;
use crate::process::Process;

/// The size of the one buffer; about what a broker reads a produce request into.
const BUFFER_BYTES: usize = 1 << 20;
/// How many written files are kept.
const KEPT_FILES: usize = 4;
const WRITE: u8 = b'w';
const SEND: u8 = b's';

/// Serves until killed: each connection asks for one transfer, by a letter and a length. Prints its address.
pub fn serve(file: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let mut buffer = vec![0u8; BUFFER_BYTES];
    let mut written = 0_usize;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut head = [0u8; 9];
        stream.read_exact(&mut head)?;
        let length = u64::from_be_bytes(head[1..].try_into()?);
        match head[0] {
            WRITE => {
                written += 1;
                take(&mut stream, &numbered(file, written), length, &mut buffer)?;
                // The brokers keep a deleted topic's files for a minute. Memory that was given back a moment ago is cheap
                // to take again, so the floor shall not have that either.
                if let Some(old) = written.checked_sub(KEPT_FILES) {
                    let _ = fs::remove_file(numbered(file, old));
                }
            }
            SEND => send(&stream, &numbered(file, written), length)?,
            other => bail!("unknown transfer {other}"),
        }
        // The answer tells the client that the work is done, and so when to read the clock.
        stream.write_all(&[1])?;
    }
    Ok(())
}

fn numbered(file: &Path, number: usize) -> PathBuf {
    file.with_extension(number.to_string())
}

fn take(stream: &mut TcpStream, file: &Path, length: u64, buffer: &mut [u8]) -> Result<()> {
    let mut file = File::create(file)?;
    let mut left = length;
    while left > 0 {
        let count = stream.read(buffer)?;
        if count == 0 {
            bail!("the client left {left} bytes early");
        }
        file.write_all(&buffer[..count])?;
        left = left.saturating_sub(count as u64);
    }
    Ok(())
}

fn send(stream: &TcpStream, file: &Path, length: u64) -> Result<()> {
    let file = File::open(file)?;
    let mut offset = 0u64;
    while offset < length {
        let chunk = (length - offset).min(BUFFER_BYTES as u64) as usize;
        if sendfile(stream, &file, Some(&mut offset), chunk)? == 0 {
            bail!("the file is shorter than {length} bytes");
        }
    }
    Ok(())
}

/// The floor's server as a child, so that its processor time is read the way a broker's is.
pub struct Floor {
    process: Process,
    address: String,
}

impl Floor {
    /// Starts this very program as the floor's server, with its file in `dir`.
    pub fn start(dir: &Path) -> Result<Self> {
        let file = dir.join("floor.bytes");
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--floor-server")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the floor's server")?;
        let stdout = child.stdout.take().context("the child has no standard output")?;
        let process = Process::new("floor", child);
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        Ok(Self { process, address: address.trim().to_owned() })
    }

    /// Sends `length` bytes to be written to a new file.
    pub fn write(&self, length: u64) -> Result<Cost> {
        let block: Vec<u8> = (0..BUFFER_BYTES).map(|i| (i % 251) as u8).collect();
        self.transfer(WRITE, length, |stream| {
            let mut left = length;
            while left > 0 {
                let count = left.min(block.len() as u64) as usize;
                stream.write_all(&block[..count])?;
                left -= count as u64;
            }
            Ok(())
        })
    }

    /// Has the first `length` bytes of the last file sent back.
    pub fn send(&self, length: u64) -> Result<Cost> {
        let mut buffer = vec![0u8; BUFFER_BYTES];
        self.transfer(SEND, length, |stream| {
            let mut left = length;
            while left > 0 {
                let limit = left.min(buffer.len() as u64) as usize;
                let count = stream.read(&mut buffer[..limit])?;
                if count == 0 {
                    bail!("the floor's server left {left} bytes early");
                }
                left -= count as u64;
            }
            Ok(())
        })
    }

    fn transfer(
        &self,
        what: u8,
        length: u64,
        mut body: impl FnMut(&mut TcpStream) -> Result<()>,
    ) -> Result<Cost> {
        let mut stream = TcpStream::connect(&self.address)?;
        let cpu = self.process.cpu()?;
        let start = Instant::now();
        let mut head = vec![what];
        head.extend_from_slice(&length.to_be_bytes());
        stream.write_all(&head)?;
        body(&mut stream)?;
        stream.read_exact(&mut [0u8])?;
        let cost = Cost { wall: start.elapsed(), cpu: self.process.cpu()? - cpu };
        stream.shutdown(Shutdown::Both)?;
        Ok(cost)
    }
}
