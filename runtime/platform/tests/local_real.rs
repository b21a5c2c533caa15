//! What only real sockets can show: who may connect, stale files, and a process that dies while its child holds its socket.
#![cfg(not(madsim))]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, getegid, geteuid, getpid, kill_process};
use synod_platform::local::{Access, Listener, LocalError, connect};
use synod_platform::testing::run;
use synod_platform::time;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_socket_admits_its_owner_or_one_group_more_and_goes_with_its_listener() {
    run(1, || async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let listener = Listener::bind(&path, Access::Owner).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(listener);
        assert!(!path.exists());
        let group = getegid().as_raw();
        let listener = Listener::bind(&path, Access::Group(group)).await.unwrap();
        assert_eq!((mode(&path), path.metadata().unwrap().gid()), (0o660, group));
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        drop(listener);
    });
}

#[test]
fn both_ends_learn_the_other_process_from_the_kernel() {
    run(2, || async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let mut listener = Listener::bind(&path, Access::Owner).await.unwrap();
        let client = connect(&path).await.unwrap();
        let server = listener.accept().await.unwrap();
        for peer in [client.peer(), server.peer()] {
            assert_eq!(peer.pid, getpid().as_raw_nonzero().get() as u32);
            assert_eq!((peer.uid, peer.gid), (geteuid().as_raw(), getegid().as_raw()));
        }
    });
}

#[test]
fn a_stale_socket_is_replaced_and_what_is_no_socket_of_ours_is_not() {
    run(3, || async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "its listener is gone, the file is not");
        drop(Listener::bind(&path, Access::Owner).await.unwrap());
        let in_use = || Some(LocalError::InUse { path: path.clone() });
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(Listener::bind(&path, Access::Owner).await.err(), in_use());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(Listener::bind(&path, Access::Owner).await.err(), in_use(), "of another type, but live");
    });
}

#[test]
fn a_directory_that_everyone_may_write_is_refused_unless_it_is_sticky() {
    run(4, || async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        set_mode(folder.path(), 0o777);
        let refused = Listener::bind(&path, Access::Owner).await.err();
        assert_eq!(refused, Some(LocalError::OpenDirectory { path: folder.path().to_owned() }));
        set_mode(folder.path(), 0o1777);
        Listener::bind(&path, Access::Owner).await.unwrap();
    });
}

/// Another process: it connects, sends the number of a child that inherits its socket and goes on sending, and ends. Only system calls, for this process has
/// threads.
fn process_that_leaves_a_child(path: &Path) -> Pid {
    let address = SocketAddrUnix::new(path).unwrap();
    // SAFETY: the child makes system calls only, and ends by `_exit`.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let socket = rustix::net::socket_with(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            );
            let Ok(socket) = socket else { libc::_exit(1) };
            if rustix::net::connect(&socket, &address).is_err() {
                libc::_exit(2);
            }
            let grandchild = libc::fork();
            if grandchild == 0 {
                // Should the test not come to it.
                libc::alarm(60);
                // In the dead one's name, as fast as it is heard.
                loop {
                    let _ = rustix::net::send(&socket, b"its child", rustix::net::SendFlags::NOSIGNAL);
                }
            }
            let number = grandchild.to_ne_bytes();
            let sent = rustix::net::send(&socket, &number, rustix::net::SendFlags::empty());
            libc::_exit(if sent.is_ok() { 0 } else { 3 });
        }
        Pid::from_raw(child).expect("fork works")
    }
}

#[test]
fn a_process_that_ended_is_gone_although_its_child_holds_the_socket() {
    run(5, || async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let mut listener = Listener::bind(&path, Access::Owner).await.unwrap();
        let process = process_that_leaves_a_child(&path);
        let channel = listener.accept().await.unwrap();
        assert_eq!(channel.peer().pid, process.as_raw_nonzero().get() as u32);
        let (mut sender, mut receiver) = channel.split();
        let mut grandchild = None;
        let hear = async {
            while let Some((frame, _)) = receiver.recv().await.unwrap() {
                if let Ok(number) = frame[..].try_into() {
                    grandchild = Pid::from_raw(i32::from_ne_bytes(number));
                }
                // Slower than its child sends.
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = time::timeout(Duration::from_secs(10), hear).await;
        let sent = sender.send(b"anybody?", Vec::new()).await;
        let alive = kill_process(grandchild.expect("its number was sent"), Signal::KILL);
        rustix::process::waitpid(Some(process), rustix::process::WaitOptions::empty()).unwrap();
        alive.expect("the grandchild held the socket all the time");
        ended.expect("the end of the process is told");
        assert_eq!(sent, Err(LocalError::Closed));
    });
}
