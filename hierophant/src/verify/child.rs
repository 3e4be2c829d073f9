//! The checking process itself, `hierophant verify-proofs`: one order after the other from standard input, replies
//! about each to standard output.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{SyncSender, sync_channel};

use network_lib::job::{Failure, FailureClass};
use rlimit::Resource;

use super::check::check_loaded;
use super::part;
use super::protocol::{Order, Reply, read_order, write_reply};
use super::rejection::Rejection;
use super::verifiers::Verifiers;

/// How much sooner the kernel ends this process than others when memory runs out, of 1000: before any other.
const OOM_SCORE: &str = "1000";

/// Runs as a checking process of a Hierophant, until its standard input ends.
#[must_use]
pub fn run() -> ExitCode {
    // Where this is not permitted, the process is as likely to be ended as others.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    if let Err(error) = forbid_files() {
        eprintln!("hierophant: cannot limit the checking process: {error}");
        return ExitCode::FAILURE;
    }
    let (orders, waiting) = sync_channel(1);
    std::thread::spawn(move || take_orders(&orders));
    let verifiers = Verifiers::default();
    let mut output = io::stdout().lock();
    for order in waiting {
        if let Err(error) = carry_out(order, &verifiers, &mut output) {
            eprintln!("hierophant: a reply could not be sent: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Checks a proof. It is read whole first, so that a hanging disk is not taken for a verification that lasts long.
fn carry_out(order: Order, verifiers: &Verifiers, output: &mut impl Write) -> io::Result<()> {
    write_reply(output, Reply::Began)?;
    let verdict = match load(&order) {
        Ok(proof) => {
            write_reply(output, Reply::Read)?;
            checked(proof, &order, verifiers).map_err(|rejection| rejection.failure())
        }
        Err(failure) => Err(failure),
    };
    write_reply(output, Reply::Verdict(verdict))
}

fn checked(proof: Vec<u8>, order: &Order, verifiers: &Verifiers) -> Result<(), Rejection> {
    match order.part {
        Some(kind) => part::check(&proof, kind, &order.vk, order.vk_hash, verifiers),
        None => check_loaded(proof, &order.claim(), &order.vk, order.mock_mode, verifiers),
    }
}

/// The bytes of the proof, read within the limits of the order.
fn load(order: &Order) -> Result<Vec<u8>, Failure> {
    limit_memory(order.memory).map_err(|error| {
        let message = format!("cannot limit the memory of a checking process: {error}");
        Failure::new(FailureClass::Infrastructure, message)
    })?;
    let path = PathBuf::from(OsString::from_vec(order.path.clone()));
    let unread = |error: io::Error| match error.kind() {
        io::ErrorKind::OutOfMemory => Rejection::TooLarge(order.memory >> 20),
        _ => Rejection::Unreadable(error),
    };
    std::fs::read(path).map_err(|error| unread(error).failure())
}

/// The process only reads files, and leaves no memory image of a proof.
fn forbid_files() -> io::Result<()> {
    Resource::FSIZE.set(0, 0)?;
    Resource::CORE.set(0, 0)
}

/// Limits the memory of this process: an allocation beyond it ends the process.
fn limit_memory(bytes: u64) -> io::Result<()> {
    let (_, most) = Resource::DATA.get()?;
    Resource::DATA.set(bytes.min(most), most)
}

/// Passes orders on. The end of standard input means that Hierophant is gone or no longer needs this process.
#[allow(
    clippy::disallowed_methods,
    reason = "the main thread may be inside SP1, which cannot be interrupted"
)]
fn take_orders(orders: &SyncSender<Order>) {
    let mut input = io::stdin().lock();
    loop {
        match read_order(&mut input) {
            Ok(Some(order)) => {
                if orders.send(order).is_err() {
                    return;
                }
            }
            Ok(None) => std::process::exit(0),
            Err(error) => {
                eprintln!(
                    "hierophant: invalid order ({error}): `verify-proofs` is started by Hierophant itself"
                );
                std::process::exit(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, pipe};
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use network_lib::handshake::Backend;
    use network_lib::ids::{Sha256Digest, VkHash};
    use network_lib::job::ProofMode;

    use super::*;

    #[test]
    fn it_reports_when_it_has_its_order_and_when_it_has_read_the_proof() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("proof");
        assert!(Command::new("mkfifo").arg(&path).status().expect("runs").success());
        let order = Order {
            path: path.as_os_str().as_bytes().to_vec(),
            vk_hash: VkHash([1; 32]),
            mode: ProofMode::Core,
            circuit_version: String::new(),
            public_values_hash: Sha256Digest([2; 32]),
            backend: Backend::Mock,
            vk: vec![],
            mock_mode: true,
            memory: u64::MAX,
            part: None,
        };
        let (mut replies, mut output) = pipe().expect("a pipe");
        let (sender, received) = channel();
        std::thread::spawn(move || {
            let mut length = [0; 4];
            while replies.read_exact(&mut length).is_ok() {
                let mut text = vec![0; u32::from_le_bytes(length) as usize];
                replies.read_exact(&mut text).expect("reads");
                sender.send(String::from_utf8(text).expect("text")).expect("is heard");
            }
        });
        let checking = std::thread::spawn(move || {
            carry_out(order, &Verifiers::default(), &mut output).expect("replies");
        });
        let next = |time| received.recv_timeout(time);
        let (soon, long) = (Duration::from_millis(300), Duration::from_secs(60));
        assert_eq!(next(long).expect("in time"), "\"began\"");
        assert_eq!(next(soon), Err(RecvTimeoutError::Timeout), "the file does not end");
        fs::write(&path, "no proof").expect("writes");
        assert_eq!(next(long).expect("in time"), "\"read\"");
        let verdict = next(long).expect("in time");
        assert!(verdict.starts_with("{\"verdict\":{\"Err\""), "{verdict}");
        checking.join().expect("ends");
    }
}
