//! One node's disk: files, names, handles and locks, with everything that can go wrong with them.
//!
//! An operation is a call that answers at once; who simulates time asks [`Disk::delay`] first and calls when it is over. A sync
//! is two calls, because it covers only what had completed before it began. Three ends of the world:
//! [`Disk::crash`] (the process dies, the cache lives), [`Disk::power_loss`] (the cache dies too) and [`Disk::wipe`]. Not modelled:
//! links, permissions of single files, the order in which a device writes back on its own before a loss of power, times of change.

mod faults;
mod inode;
mod names;

use std::collections::BTreeMap;

pub use faults::{DIRECT, DiskFaults, Failure, PowerLoss, SECTOR};
use inode::Inode;
use names::{Names, Node, normal, parent};

use crate::Random;

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(u64);

impl Handle {
    /// The handle of this number; a disk that never gave it out answers [`Failure::BadHandle`].
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Its number, which no other handle of this disk ever has.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// It can be read.
    pub read: bool,
    /// It can be written.
    pub write: bool,
    /// It is made if it is not there.
    pub create: bool,
    /// It is made, and must not be there.
    pub create_new: bool,
    /// Its content is thrown away.
    pub truncate: bool,
    /// It goes past the cache, in units of [`DIRECT`].
    pub direct: bool,
}

/// A sync under way: what it will cover.
#[derive(Clone, Copy, Debug)]
pub struct FileSync {
    handle: Handle,
    mark: inode::Mark,
}

/// A sync of a directory under way.
#[derive(Clone, Debug)]
pub struct DirectorySync {
    directory: String,
    mark: names::Mark,
}

/// Which delay an operation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Reads, and looking at names.
    Read,
    /// Writes, and changes of names and lengths.
    Write,
    /// Syncs of files and directories.
    Sync,
}

#[derive(Clone, Copy, Debug)]
struct OpenFile {
    inode: u64,
    read: bool,
    write: bool,
    direct: bool,
}

impl OpenFile {
    /// What it reads and writes at a time, bytes.
    fn unit(&self) -> u64 {
        if self.direct { DIRECT } else { 1 }
    }

    fn takes(&self, offset: u64, len: usize) -> Result<(), Failure> {
        let whole = offset.is_multiple_of(self.unit()) && (len as u64).is_multiple_of(self.unit());
        if whole { Ok(()) } else { Err(Failure::Invalid) }
    }
}

/// One node's disk.
#[derive(Clone, Debug)]
pub struct Disk {
    faults: DiskFaults,
    names: Names,
    inodes: BTreeMap<u64, Inode>,
    handles: BTreeMap<Handle, OpenFile>,
    /// By inode: who holds its lock.
    locks: BTreeMap<u64, Handle>,
    next: u64,
    last_completion_ns: u64,
}

impl Default for Disk {
    fn default() -> Self {
        Self::new(DiskFaults::default())
    }
}

impl Disk {
    /// An empty disk under these faults.
    pub fn new(faults: DiskFaults) -> Self {
        Self {
            faults,
            names: Names::new(),
            inodes: BTreeMap::new(),
            handles: BTreeMap::new(),
            locks: BTreeMap::new(),
            next: 1,
            last_completion_ns: 0,
        }
    }

    /// The faults in force.
    pub const fn faults(&self) -> &DiskFaults {
        &self.faults
    }

    /// Changes the faults; what the disk holds stays.
    pub fn set_faults(&mut self, faults: DiskFaults) {
        self.faults = faults;
    }

    /// When an operation submitted now completes, true ns. Whether the disk is stalled then is asked then.
    pub fn completes_at(&mut self, now_ns: u64, class: Class, random: &mut impl Random) -> u64 {
        let delay = match class {
            Class::Read => &self.faults.read,
            Class::Write => &self.faults.write,
            Class::Sync => &self.faults.sync,
        };
        let takes = delay.draw(random).saturating_mul(u64::from(self.faults.slow.max(1)));
        let mut at = now_ns.saturating_add(takes);
        if self.faults.in_order {
            at = at.max(self.last_completion_ns);
        } else if at < self.last_completion_ns {
            synod_probe::reach!("disk.completed_out_of_order");
        }
        self.last_completion_ns = self.last_completion_ns.max(at);
        at
    }

    fn denied(&self, path: &str) -> bool {
        self.faults.denied.iter().any(|denied| match normal(denied) {
            Ok(denied) => {
                path == denied || path.strip_prefix(&*denied).is_some_and(|rest| rest.starts_with('/'))
            }
            Err(_) => false,
        })
    }

    /// The path, if its directory is there and it may be touched.
    fn reachable(&self, path: &str) -> Result<String, Failure> {
        let path = normal(path)?;
        if self.denied(&path) {
            synod_probe::reach!("disk.permission_denied");
            return Err(Failure::Denied);
        }
        match self.names.get(parent(&path)) {
            Some(Node::Directory) => Ok(path),
            Some(Node::File(_)) => Err(Failure::NotDirectory),
            None => Err(self.missing(&path)),
        }
    }

    /// Why there is nothing at this path: a name on the way is missing, or is a file.
    fn missing(&self, path: &str) -> Failure {
        let mut above = parent(path);
        while !above.is_empty() {
            if let Some(Node::File(_)) = self.names.get(above) {
                return Failure::NotDirectory;
            }
            above = parent(above);
        }
        Failure::NotFound
    }

    fn changeable(&self, path: &str) -> Result<String, Failure> {
        let path = self.reachable(path)?;
        self.writable()?;
        Ok(path)
    }

    fn writable(&self) -> Result<(), Failure> {
        if self.faults.read_only {
            synod_probe::reach!("disk.read_only_refused");
            return Err(Failure::ReadOnly);
        }
        Ok(())
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn inode(&mut self, number: u64) -> &mut Inode {
        self.inodes.get_mut(&number).expect("a named or open file has content")
    }

    fn file(&self, handle: Handle) -> Result<OpenFile, Failure> {
        self.handles.get(&handle).copied().ok_or(Failure::BadHandle)
    }

    fn file_to_write(&self, handle: Handle) -> Result<OpenFile, Failure> {
        let file = self.file(handle)?;
        if !file.write {
            return Err(Failure::BadHandle);
        }
        self.writable()?;
        Ok(file)
    }

    /// Forgets files that no name leads to and nobody has open.
    fn collect(&mut self) {
        let mut kept: Vec<u64> = self.names.files().collect();
        kept.extend(self.handles.values().map(|file| file.inode));
        kept.sort_unstable();
        self.inodes.retain(|number, _| kept.binary_search(number).is_ok());
    }

    /// Opens a file.
    pub fn open(&mut self, path: &str, options: Open) -> Result<Handle, Failure> {
        let Open { read, write, create, create_new, truncate, direct } = options;
        let nothing = !read && !write;
        if nothing || (direct && self.faults.no_direct) || (!write && (create || create_new || truncate)) {
            return Err(Failure::Invalid);
        }
        let path = self.reachable(path)?;
        if write {
            self.writable()?;
        }
        let inode = match self.names.get(&path) {
            Some(_) if create_new => return Err(Failure::Exists),
            Some(Node::Directory) => return Err(Failure::IsDirectory),
            Some(Node::File(inode)) => inode,
            None if create || create_new => {
                let inode = self.fresh();
                self.inodes.insert(inode, Inode::default());
                self.names.link(&path, Node::File(inode));
                inode
            }
            None => return Err(Failure::NotFound),
        };
        if truncate {
            self.inode(inode).set_length(0);
        }
        let handle = Handle(self.fresh());
        self.handles.insert(handle, OpenFile { inode, read, write, direct });
        Ok(handle)
    }

    /// Closes a file and gives up its lock.
    pub fn close(&mut self, handle: Handle) -> Result<(), Failure> {
        let file = self.handles.remove(&handle).ok_or(Failure::BadHandle)?;
        if self.locks.get(&file.inode) == Some(&handle) {
            self.locks.remove(&file.inode);
        }
        self.collect();
        Ok(())
    }

    /// Takes the file's lock, alone. Taking it twice is fine.
    pub fn lock(&mut self, handle: Handle) -> Result<(), Failure> {
        let file = self.file(handle)?;
        match self.locks.get(&file.inode) {
            Some(holder) if *holder != handle => Err(Failure::Locked),
            _ => {
                self.locks.insert(file.inode, handle);
                Ok(())
            }
        }
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(|inode| inode.seen.len() as u64).sum()
    }

    /// How far a file may grow to reach `end`; what is there already is always allowed.
    fn room_up_to(&self, inode: u64, end: u64) -> u64 {
        let len = self.inodes.get(&inode).map_or(0, |inode| inode.seen.len() as u64);
        match self.faults.capacity {
            Some(capacity) if end > len => len + (end - len).min(capacity.saturating_sub(self.used())),
            _ => end,
        }
    }

    fn full(&self) -> Failure {
        synod_probe::reach!("disk.full");
        if self.faults.quota { Failure::Quota } else { Failure::NoSpace }
    }

    /// Makes room for a range, extending the file with zeros if the range ends beyond it.
    pub fn allocate(&mut self, handle: Handle, offset: u64, len: u64) -> Result<(), Failure> {
        let file = self.file_to_write(handle)?;
        let end = offset.checked_add(len).filter(|_| len > 0).ok_or(Failure::Invalid)?;
        if self.faults.no_allocate {
            return Err(Failure::Unsupported);
        }
        if self.room_up_to(file.inode, end) < end {
            return Err(self.full());
        }
        let inode = self.inode(file.inode);
        if (inode.seen.len() as u64) < end {
            inode.set_length(end);
        }
        Ok(())
    }

    /// Writes; answers how much was taken.
    pub fn write(
        &mut self,
        handle: Handle,
        offset: u64,
        bytes: &[u8],
        random: &mut impl Random,
    ) -> Result<usize, Failure> {
        self.write_as(handle, offset, bytes, false, random)
    }

    /// The same, and what was taken is durable. After an error of the device nothing of it need be, nor need reads tell what is.
    pub fn write_durable(
        &mut self,
        handle: Handle,
        offset: u64,
        bytes: &[u8],
        random: &mut impl Random,
    ) -> Result<usize, Failure> {
        self.write_as(handle, offset, bytes, true, random)
    }

    fn write_as(
        &mut self,
        handle: Handle,
        offset: u64,
        bytes: &[u8],
        durable: bool,
        random: &mut impl Random,
    ) -> Result<usize, Failure> {
        let file = self.file_to_write(handle)?;
        file.takes(offset, bytes.len())?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let unit = file.unit();
        let end = offset.checked_add(bytes.len() as u64).ok_or(Failure::Invalid)?;
        if random.chance(self.faults.write_error) {
            synod_probe::reach!("disk.write_error");
            let taken = random.below(bytes.len() as u64) as usize;
            let fits = self.room_up_to(file.inode, offset + taken as u64).saturating_sub(offset);
            self.inode(file.inode).write(offset, &bytes[..taken.min(fits as usize)]);
            return Err(Failure::Io);
        }
        let fits = self.room_up_to(file.inode, end).saturating_sub(offset);
        let mut count = (bytes.len() as u64).min(fits) / unit * unit;
        if count == 0 {
            return Err(self.full());
        }
        if count > unit && random.chance(self.faults.short_write) {
            synod_probe::reach!("disk.short_write");
            count = random.between(1, count / unit - 1) * unit;
        }
        let bytes = &bytes[..count as usize];
        let failed = durable && random.chance(self.faults.sync_error);
        let misdirect = durable && !failed && random.chance(self.faults.misdirected);
        let inode = self.inode(file.inode);
        match (durable, failed) {
            (false, _) => inode.write(offset, bytes),
            (true, false) => inode.write_durable(offset, bytes, misdirect, random),
            (true, true) => {
                synod_probe::reach!("disk.sync_error");
                if file.direct {
                    inode.write_torn(offset, bytes, random);
                } else {
                    inode.write(offset, bytes);
                    let mark = inode.mark();
                    inode.sync_failed(mark);
                }
                return Err(Failure::Io);
            }
        }
        Ok(bytes.len())
    }

    /// A write was under way when its process died: some first part of it was taken, or nothing.
    pub fn write_interrupted(&mut self, handle: Handle, offset: u64, bytes: &[u8], random: &mut impl Random) {
        let Ok(file) = self.file_to_write(handle) else { return };
        let taken = random.between(0, bytes.len() as u64);
        let fits = self.room_up_to(file.inode, offset.saturating_add(taken)).saturating_sub(offset);
        let taken = taken.min(fits) as usize;
        if taken > 0 {
            synod_probe::reach!("disk.write_interrupted");
            self.inode(file.inode).write(offset, &bytes[..taken]);
        }
    }

    /// Reads; answers how much, 0 at or beyond the end.
    pub fn read(
        &mut self,
        handle: Handle,
        offset: u64,
        into: &mut [u8],
        random: &mut impl Random,
    ) -> Result<usize, Failure> {
        let file = self.file(handle)?;
        if !file.read {
            return Err(Failure::BadHandle);
        }
        file.takes(offset, into.len())?;
        if random.chance(self.faults.read_error) {
            synod_probe::reach!("disk.read_error");
            return Err(Failure::Io);
        }
        if random.chance(self.faults.rot) {
            self.inode(file.inode).rot(random);
        }
        let short = self.faults.short_read;
        let seen = &self.inode(file.inode).seen;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(seen.len());
        let mut count = into.len().min(seen.len() - start);
        let unit = file.unit() as usize;
        if count > unit && random.chance(short) {
            synod_probe::reach!("disk.short_read");
            count = random.between(1, count.div_ceil(unit) as u64 - 1) as usize * unit;
        }
        into[..count].copy_from_slice(&seen[start..start + count]);
        Ok(count)
    }

    /// Sets a file's length.
    pub fn truncate(&mut self, handle: Handle, len: u64) -> Result<(), Failure> {
        let file = self.file_to_write(handle)?;
        if self.room_up_to(file.inode, len) < len {
            return Err(self.full());
        }
        self.inode(file.inode).set_length(len);
        Ok(())
    }

    /// Begins a sync: it will cover what was changed up to now.
    pub fn sync_begin(&mut self, handle: Handle) -> Result<FileSync, Failure> {
        let file = self.file(handle)?;
        Ok(FileSync { handle, mark: self.inode(file.inode).mark() })
    }

    /// Ends a sync.
    pub fn sync_end(&mut self, sync: FileSync, random: &mut impl Random) -> Result<(), Failure> {
        let file = self.file(sync.handle)?;
        if random.chance(self.faults.sync_error) {
            synod_probe::reach!("disk.sync_error");
            self.inode(file.inode).sync_failed(sync.mark);
            return Err(Failure::Io);
        }
        let misdirect = random.chance(self.faults.misdirected);
        self.inode(file.inode).synced(sync.mark, misdirect, random);
        Ok(())
    }

    /// Begins a sync of a directory's names.
    pub fn sync_directory_begin(&mut self, path: &str) -> Result<DirectorySync, Failure> {
        let directory = self.reachable(path)?;
        match self.names.get(&directory) {
            Some(Node::Directory) => Ok(DirectorySync { directory, mark: self.names.mark() }),
            Some(Node::File(_)) => Err(Failure::NotDirectory),
            None => Err(Failure::NotFound),
        }
    }

    /// Ends a sync of a directory's names. A failed one leaves the changes unsynced: journals retry, pages do not.
    pub fn sync_directory_end(
        &mut self,
        sync: DirectorySync,
        random: &mut impl Random,
    ) -> Result<(), Failure> {
        if random.chance(self.faults.sync_error) {
            synod_probe::reach!("disk.sync_error");
            return Err(Failure::Io);
        }
        self.names.synced(&sync.directory, sync.mark);
        self.collect();
        Ok(())
    }

    /// Renames a file or directory, replacing a file (by a file) or an empty directory (by a directory).
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let from = self.changeable(from)?;
        let to = self.changeable(to)?;
        let node = self.names.get(&from).ok_or(Failure::NotFound)?;
        if from == to {
            return Ok(());
        }
        if to.strip_prefix(&*from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(Failure::Invalid);
        }
        match (node, self.names.get(&to)) {
            (Node::File(_), Some(Node::Directory)) => return Err(Failure::IsDirectory),
            (Node::Directory, Some(Node::File(_))) => return Err(Failure::NotDirectory),
            (Node::Directory, Some(Node::Directory)) if self.names.children(&to).next().is_some() => {
                return Err(Failure::NotEmpty);
            }
            _ => {}
        }
        self.names.rename(&from, &to);
        self.collect();
        Ok(())
    }

    /// Removes a file's name.
    pub fn remove(&mut self, path: &str) -> Result<(), Failure> {
        let path = self.changeable(path)?;
        match self.names.get(&path) {
            Some(Node::File(_)) => {
                self.names.unlink(&path);
                self.collect();
                Ok(())
            }
            Some(Node::Directory) => Err(Failure::IsDirectory),
            None => Err(Failure::NotFound),
        }
    }

    /// Removes an empty directory.
    pub fn remove_directory(&mut self, path: &str) -> Result<(), Failure> {
        let path = self.changeable(path)?;
        match self.names.get(&path) {
            Some(Node::Directory) if path.is_empty() => Err(Failure::Invalid),
            Some(Node::Directory) if self.names.children(&path).next().is_some() => Err(Failure::NotEmpty),
            Some(Node::Directory) => {
                self.names.unlink(&path);
                Ok(())
            }
            Some(Node::File(_)) => Err(Failure::NotDirectory),
            None => Err(Failure::NotFound),
        }
    }

    /// Makes a directory in one that is there.
    pub fn create_directory(&mut self, path: &str) -> Result<(), Failure> {
        let path = self.changeable(path)?;
        if self.names.get(&path).is_some() {
            return Err(Failure::Exists);
        }
        self.names.link(&path, Node::Directory);
        Ok(())
    }

    /// A directory's names, sorted, each with whether it is a directory.
    pub fn list(&self, path: &str) -> Result<Vec<(String, bool)>, Failure> {
        let path = self.reachable(path)?;
        match self.names.get(&path) {
            Some(Node::Directory) => {
                let children = self.names.children(&path);
                let mut list: Vec<_> =
                    children.map(|(name, node)| (name.to_owned(), node == Node::Directory)).collect();
                list.sort();
                Ok(list)
            }
            Some(Node::File(_)) => Err(Failure::NotDirectory),
            None => Err(Failure::NotFound),
        }
    }

    /// A file's length, or `None` for a directory.
    pub fn length(&self, path: &str) -> Result<Option<u64>, Failure> {
        let path = self.reachable(path)?;
        match self.names.get(&path) {
            Some(Node::File(inode)) => Ok(self.inodes.get(&inode).map(|inode| inode.seen.len() as u64)),
            Some(Node::Directory) => Ok(None),
            None => Err(Failure::NotFound),
        }
    }

    /// The process died: its handles and locks are gone, everything it wrote is still in the cache.
    pub fn crash(&mut self) {
        self.handles.clear();
        self.locks.clear();
        self.last_completion_ns = 0;
        self.collect();
    }

    /// Power was lost: the process died, and of what was not synced only what [`DiskFaults::power_loss`] leaves is there.
    pub fn power_loss(&mut self, random: &mut impl Random) {
        self.crash();
        let how = self.faults.power_loss;
        for inode in self.inodes.values_mut() {
            if inode.has_unsynced() || inode.seen != inode.durable {
                inode.power_lost(how, random);
            }
        }
        self.names.power_lost(how, random);
        self.collect();
    }

    /// The disk was exchanged for an empty one; the faults stay.
    pub fn wipe(&mut self) {
        synod_probe::reach!("disk.wiped");
        *self = Self { next: self.next, ..Self::new(self.faults.clone()) };
    }

    /// Turns one bit of a file on the device; false if there is no such file or it is empty there.
    pub fn rot(&mut self, path: &str, random: &mut impl Random) -> bool {
        match normal(path).ok().and_then(|path| self.names.get(&path)) {
            Some(Node::File(inode)) => self.inode(inode).rot(random),
            _ => false,
        }
    }

    /// What a file would hold if power were lost now and nothing unsynced survived; `None` if its name would not be there.
    pub fn durable(&self, path: &str) -> Option<&[u8]> {
        match self.names.durable_node(&normal(path).ok()?)? {
            Node::File(inode) => self.inodes.get(&inode).map(|inode| &*inode.durable),
            Node::Directory => None,
        }
    }

    /// Every file that is seen now, by path.
    pub fn files(&self) -> Vec<String> {
        let files = self.names.seen.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
