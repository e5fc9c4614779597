//! The path of a Unix socket: bound, found to be left behind, removed.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf, absolute};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::options::ListenOptions;

/// Binds a socket to a path, and gives the path its owner and mode. Nobody can
/// connect before the socket listens.
///
/// A path that a process has left behind is replaced
/// ([F66](crate::docs::faults#f66)): that of a socket which refuses connections.
pub(super) fn bind(
    socket: &Socket,
    path: &Path,
    options: &ListenOptions,
) -> io::Result<UnlinkOnDrop> {
    if path.as_os_str().as_bytes().contains(&0) {
        let error = "the path contains a zero byte";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !remove_abandoned(path, &address)? {
                return Err(error);
            }
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let bound = UnlinkOnDrop::new(path)?;
    if options.owner.is_some() || options.group.is_some() {
        lchown(path, options.owner, options.group)
            .map_err(|error| io::Error::other(format!("giving it its owner: {error}")))?;
    }
    if let Some(mode) = options.mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| io::Error::other(format!("giving it its mode: {error}")))?;
    }
    Ok(bound)
}

/// Removes the path of a socket that refuses connections; returns whether the
/// path is free now.
fn remove_abandoned(path: &Path, address: &SockAddr) -> io::Result<bool> {
    let before = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        metadata => metadata?,
    };
    if !before.file_type().is_socket() {
        return Ok(false);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue must not hold us up: somebody listens there, too.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => return Ok(false),
    }
    if inode(path)? != (before.dev(), before.ino()) {
        return Ok(false);
    }
    fs::remove_file(path)?;
    log::info!(
        "{} was left behind by a process that is gone: replacing it",
        path.display()
    );
    Ok(true)
}

/// The path of a Unix socket that we bound. It is removed when the listener
/// closes or is dropped, but only while it is still the one that we made: a
/// successor may have put its own there ([F10](crate::docs::faults#f10)).
#[derive(Debug)]
pub struct UnlinkOnDrop {
    path: PathBuf,
    inode: (u64, u64),
    removed: bool,
}

impl UnlinkOnDrop {
    /// Remembers which socket the path leads to now.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn new(path: &Path) -> io::Result<UnlinkOnDrop> {
        Ok(UnlinkOnDrop {
            // The working directory may change.
            path: absolute(path)?,
            inode: inode(path)?,
            removed: false,
        })
    }

    /// Leaves the path to others.
    pub fn leave(&mut self) {
        self.removed = true;
    }

    /// Removes the path, once: from now on nobody can connect. After an error
    /// it can be tried again.
    ///
    /// # Errors
    /// Those of the operating system. A path that is gone is none.
    pub fn remove(&mut self) -> io::Result<()> {
        if self.removed {
            return Ok(());
        }
        match inode(&self.path) {
            Ok(inode) if inode == self.inode => fs::remove_file(&self.path)?,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.removed = true;
        Ok(())
    }
}

impl Drop for UnlinkOnDrop {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            log::warn!("removing {}: {error}", self.path.display());
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
