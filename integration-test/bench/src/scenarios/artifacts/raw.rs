//! The raw path: a socket and a file, and nothing in between.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{CHUNK, chunk, lengths};

/// Sends bytes over the loopback into a file and syncs it to the disk; returns the time.
pub(super) async fn upload(file: &Path, size: u64) -> Result<Duration> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || upload_blocking(file, size)).await?
}

/// Sends the file over the loopback to a peer that computes its digest; returns the time.
pub(super) async fn download(file: &Path) -> Result<Duration> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || download_blocking(&file)).await?
}

/// Has the system take hold of as much memory as the file's pages need, and give it back. A virtual machine gets
/// its memory from its host when it is touched first, which may take ten times as long as writing to it: what
/// is measured next would pay for that, and what is measured after it would not.
pub(super) async fn touch(file: &Path, size: u64) -> Result<()> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut pages = File::create(&file)?;
        let chunk = vec![0; CHUNK];
        for length in lengths(size) {
            pages.write_all(&chunk[..length])?;
        }
        Ok(std::fs::remove_file(&file)?)
    })
    .await?
}

fn connected() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let sender = TcpStream::connect(listener.local_addr()?)?;
    Ok((sender, listener.accept()?.0))
}

fn upload_blocking(file: PathBuf, size: u64) -> Result<Duration> {
    let (mut sender, mut receiver) = connected()?;
    let chunk = chunk(1);
    let began = Instant::now();
    let receiving = thread::spawn(move || -> std::io::Result<u64> {
        let mut file = File::create(file)?;
        let (mut buffer, mut got) = (vec![0; CHUNK], 0);
        loop {
            let read = receiver.read(&mut buffer)?;
            if read == 0 {
                file.sync_all()?;
                return Ok(got);
            }
            file.write_all(&buffer[..read])?;
            got += read as u64;
        }
    });
    for length in lengths(size) {
        sender.write_all(&chunk[..length])?;
    }
    drop(sender);
    let got = receiving.join().map_err(|_| anyhow!("the raw receiver panicked"))??;
    ensure!(got == size, "{got} bytes came over the raw path");
    Ok(began.elapsed())
}

fn download_blocking(file: &Path) -> Result<Duration> {
    let (mut sender, mut receiver) = connected()?;
    let began = Instant::now();
    let receiving = thread::spawn(move || -> std::io::Result<[u8; 32]> {
        let (mut buffer, mut hasher) = (vec![0; CHUNK], Sha256::new());
        loop {
            let read = receiver.read(&mut buffer)?;
            if read == 0 {
                return Ok(hasher.finalize().into());
            }
            hasher.update(&buffer[..read]);
        }
    });
    let mut file = File::open(file).context("nothing was uploaded before")?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sender.write_all(&buffer[..read])?;
    }
    drop(sender);
    receiving.join().map_err(|_| anyhow!("the raw receiver panicked"))??;
    Ok(began.elapsed())
}
