//! The Unix socket for operators in the data folder. The mode of its file admits the user that runs Hierophant, and
//! root, so that calls over it need no token.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{UnixListener, UnixStream};

/// Name of the socket in the data folder.
const NAME: &str = "admin.sock";

/// User id of root.
const ROOT: u32 = 0;

/// Pause after a failed acceptance, such as without a free file descriptor.
const PAUSE: Duration = Duration::from_secs(1);

/// Marker in the extensions of requests received over the socket.
#[derive(Debug, Clone, Copy)]
pub struct OverSocket;

/// The listening socket. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// User that runs Hierophant.
    owner: u32,
}

impl AdminSocket {
    /// Path of the socket in this data folder.
    #[must_use]
    pub fn path_in(data: &Path) -> PathBuf {
        data.join(NAME)
    }

    /// Listens in this data folder, which the caller has locked, and replaces what an earlier process left there.
    ///
    /// # Errors
    ///
    /// When the path is too long (108 bytes), or the file system has no sockets.
    pub fn bind(data: &Path) -> io::Result<Self> {
        let path = Self::path_in(data);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let owner = fs::metadata(&path)?.uid();
        Ok(Self { listener, path, owner })
    }

    /// Path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // One that stays is replaced at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Callers have the address 127.0.0.1: they are programs on this machine.
impl Listener for AdminSocket {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                // Another user may have connected before the file had its mode.
                Ok((stream, _)) => match stream.peer_cred().map(|peer| peer.uid()) {
                    Ok(user) if user == self.owner || user == ROOT => return (stream, here()),
                    refused => tracing::warn!(?refused, "connection to the admin socket refused"),
                },
                Err(error) => {
                    tracing::warn!(%error, "connection to the admin socket not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(here())
    }
}

fn here() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
