//! What only real sockets can show: TLS on both sides, modes and stale files of Unix sockets, and peers that break the protocol.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use synod_platform::net::{
    Address, Connection, Credentials, CredentialsError, FRAME_MAX, HANDSHAKE_LIMIT, HANDSHAKES_MAX, Listener,
    NetError, Proof, connect,
};
use synod_platform::{task, time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};

use crate::run;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key, in PEM.
    fn sign(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn credentials(&self, name: &str) -> Credentials {
        let (certificate, key) = self.sign(&[name]);
        Credentials::from_pem(certificate.as_bytes(), key.as_bytes(), self.0.pem().as_bytes()).unwrap()
    }
}

fn plain(name: &str) -> Credentials {
    Credentials::plain(name).unwrap()
}

fn soon() -> time::Mono {
    time::now() + Duration::from_secs(20)
}

async fn listen(credentials: &Credentials) -> (Listener, Address) {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), credentials).await.unwrap();
    let at = listener.address().clone();
    (listener, at)
}

/// Both sides' view of one attempt; the listener gives up shortly after the client has.
async fn meet(
    server: Credentials,
    client: Credentials,
) -> (Result<Connection, NetError>, Option<Connection>, u64) {
    let (mut listener, at) = listen(&server).await;
    let accepting = task::spawn(async move {
        let accepted = time::timeout(Duration::from_millis(300), listener.accept()).await;
        (accepted.ok().map(Result::unwrap), listener.refused())
    });
    let mut connected = connect(&at, &client, soon()).await;
    if let Ok(connection) = &mut connected {
        // TLS 1.3 lets a client go on before the server has judged its certificate: the verdict is the first read's.
        if let Ok(Err(error)) = time::timeout(Duration::from_millis(200), connection.recv()).await {
            connected = Err(error);
        }
    }
    let (accepted, refused) = accepting.await.unwrap();
    (connected, accepted, refused)
}

#[test]
fn tls_proves_both_names_and_carries_frames_of_every_size() {
    run(1, || async {
        let authority = Authority::new();
        let (mut listener, at) = listen(&authority.credentials("server.fleet")).await;
        let credentials = authority.credentials("client.fleet");
        let client = task::spawn(async move { connect(&at, &credentials, soon()).await });
        let server = listener.accept().await.unwrap();
        let client = client.await.unwrap().unwrap();
        assert_eq!((server.peer().name(), server.peer().proof()), ("client.fleet", Proof::Certificate));
        assert_eq!((client.peer().name(), client.peer().proof()), ("server.fleet", Proof::Certificate));
        let (mut sender, _r) = client.split();
        let (_s, mut receiver) = server.split();
        let sizes = [0, 1, 16_384, 16_385, 1 << 20, FRAME_MAX];
        let sending = task::spawn(async move {
            for size in sizes {
                sender.send(Bytes::from(vec![size as u8; size])).await.unwrap();
            }
            sender.close().await.unwrap();
        });
        for size in sizes {
            assert!(receiver.recv().await.unwrap().unwrap() == vec![size as u8; size], "{size}");
        }
        assert_eq!(receiver.recv().await, Ok(None));
        sending.await.unwrap();
    });
}

#[test]
fn a_peer_of_another_authority_is_not_believed_by_either_side() {
    run(2, || async {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (connected, accepted, refused) =
            meet(ours.credentials("server"), theirs.credentials("client")).await;
        assert!(matches!(connected, Err(NetError::Untrusted { .. })), "{:?}", connected.err());
        assert!(accepted.is_none());
        assert_eq!(refused, 1);
        // A client that believes the server is still refused by it: it trusts ours, but was signed by theirs.
        let (certificate, key) = theirs.sign(&["client"]);
        let spy =
            Credentials::from_pem(certificate.as_bytes(), key.as_bytes(), ours.0.pem().as_bytes()).unwrap();
        let (connected, accepted, refused) = meet(ours.credentials("server"), spy).await;
        assert!(connected.is_err());
        assert!(accepted.is_none());
        assert_eq!(refused, 1);
    });
}

#[test]
fn plain_and_tls_do_not_meet() {
    run(3, || async {
        let authority = Authority::new();
        for (server, client) in
            [(authority.credentials("s"), plain("c")), (plain("s"), authority.credentials("c"))]
        {
            let (connected, accepted, refused) = meet(server, client).await;
            assert!(matches!(connected, Err(NetError::Untrusted { .. })), "{:?}", connected.err());
            assert!(accepted.is_none());
            assert_eq!(refused, 1);
        }
    });
}

#[test]
fn credentials_say_which_of_the_three_files_is_wrong() {
    let authority = Authority::new();
    let root = authority.0.pem();
    let (certificate, key) = authority.sign(&["name"]);
    let what = |certificate: &str, key: &str, root: &str| match Credentials::from_pem(
        certificate.as_bytes(),
        key.as_bytes(),
        root.as_bytes(),
    ) {
        Err(CredentialsError::Pem { what, reason }) => (what, reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(what("", &key, &root).0, "certificate");
    assert_eq!(what(&key, &key, &root).0, "certificate");
    assert_eq!(what(&certificate, &certificate, &root).0, "key");
    assert_eq!(what(&certificate, &key, "nothing").0, "authority");
    let (_, others) = authority.sign(&["name"]);
    assert_eq!(what(&certificate, &others, &root).0, "key");
    let (nameless, key) = authority.sign(&[]);
    assert!(what(&nameless, &key, &root).1.contains("DNS name"));
    let (everybody, key) = authority.sign(&["*.fleet.example"]);
    let reason = what(&everybody, &key, &root).1;
    assert!(reason.contains("`*.fleet.example` is no name"), "{reason}");
}

#[test]
fn a_unix_socket_is_its_owners_alone_and_goes_with_its_listener() {
    run(5, || async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let address = Address::Unix(path.clone());
        let listener = Listener::bind(&address, &plain("server")).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let at = address.clone();
        let client = task::spawn(async move { connect(&at, &plain("client"), soon()).await });
        let mut listener = listener;
        let server = listener.accept().await.unwrap();
        let me = std::fs::metadata(folder.path()).unwrap();
        let expected = Proof::Process {
            pid: Some(std::process::id() as i32),
            uid: std::os::unix::fs::MetadataExt::uid(&me),
            gid: std::os::unix::fs::MetadataExt::gid(&me),
        };
        assert_eq!(server.peer().proof(), expected);
        client.await.unwrap().unwrap();
        drop(listener);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    });
}

#[test]
fn a_stale_socket_is_replaced_and_a_file_that_is_none_is_not() {
    run(6, || async {
        let folder = tempfile::tempdir().unwrap();
        let stale = folder.path().join("stale.sock");
        drop(UnixListener::bind(&stale).unwrap());
        assert!(stale.exists());
        Listener::bind(&Address::Unix(stale), &plain("server")).await.unwrap();

        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "keep me").unwrap();
        let address = Address::Unix(file.clone());
        let refused = Listener::bind(&address, &plain("server")).await.err();
        assert_eq!(refused, Some(NetError::AddressInUse { address }));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "keep me");
    });
}

#[test]
fn a_replaced_socket_file_is_not_taken_away_by_its_former_owner() {
    run(7, || async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let first = Listener::bind(&Address::Unix(path.clone()), &plain("first")).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = Listener::bind(&Address::Unix(path.clone()), &plain("second")).await.unwrap();
        drop(first);
        assert!(path.exists());
    });
}

/// A raw stream that has exchanged hellos as a well-behaved peer would, and our side of it.
async fn raw_peer() -> (TcpStream, Connection) {
    // What a peer's hello looks like is learned from one, so that this test knows no more of it than a stranger does.
    let spy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = Address::Tcp(spy.local_addr().unwrap());
    let teacher = task::spawn(async move { connect(&at, &plain("raw"), soon()).await });
    let (mut overheard, _) = spy.accept().await.unwrap();
    let length = overheard.read_u32_le().await.unwrap();
    let mut hello = vec![0; length as usize];
    overheard.read_exact(&mut hello).await.unwrap();
    drop(overheard);
    assert!(teacher.await.unwrap().is_err());

    let (mut listener, at) = listen(&plain("server")).await;
    let Address::Tcp(at) = at else { unreachable!() };
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_u32_le(length).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let connection = listener.accept().await.unwrap();
    assert_eq!(connection.peer().name(), "raw");
    (stream, connection)
}

#[test]
fn a_peer_that_closes_inside_a_frame_is_told_apart_from_one_that_is_done() {
    run(8, || async {
        let (mut stream, mut connection) = raw_peer().await;
        stream.write_all(&[2, 0, 0, 0, b'o', b'k', 10, 0, 0, 0, 1, 2, 3]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(connection.recv().await.unwrap().unwrap(), "ok");
        assert_eq!(connection.recv().await, Err(NetError::MidFrame { missing: 7 }));
        assert_eq!(connection.recv().await, Err(NetError::MidFrame { missing: 7 }), "and again");
    });
}

#[test]
fn a_peer_that_announces_too_much_is_cut_off_at_the_announcement() {
    run(9, || async {
        let (mut stream, mut connection) = raw_peer().await;
        stream.write_u32_le(u32::MAX).await.unwrap();
        let limit = FRAME_MAX as u64;
        assert_eq!(connection.recv().await, Err(NetError::TooLarge { size: u32::MAX.into(), limit }));
    });
}

#[test]
fn strangers_that_say_something_else_are_counted_and_hold_up_nobody() {
    run(10, || async {
        let (mut listener, at) = listen(&plain("server")).await;
        let Address::Tcp(raw) = at else { unreachable!() };
        let mut strangers = Vec::new();
        for i in 0..HANDSHAKES_MAX {
            let mut stranger = TcpStream::connect(raw).await.unwrap();
            if i % 2 == 0 {
                stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            }
            strangers.push(stranger);
        }
        let client = task::spawn(async move { connect(&Address::Tcp(raw), &plain("client"), soon()).await });
        let before = time::now();
        assert_eq!(listener.accept().await.unwrap().peer().name(), "client");
        assert!(time::now().since(before) < HANDSHAKE_LIMIT);
        assert_eq!(listener.refused(), HANDSHAKES_MAX as u64 / 2);
        assert!(client.await.unwrap().is_ok());
    });
}

#[test]
fn a_peer_that_resets_is_told_apart_from_one_that_is_done() {
    run(11, || async {
        let (stream, mut connection) = raw_peer().await;
        // What it does not send any more it takes back: the kernel resets.
        stream.set_zero_linger().unwrap();
        drop(stream);
        assert_eq!(connection.recv().await, Err(NetError::Reset));
        assert_eq!(connection.recv().await, Err(NetError::Reset), "and again");
    });
}

#[test]
fn long_frames_cross_a_sealed_connection_both_ways_at_once() {
    run(12, || async {
        let authority = Authority::new();
        let (mut listener, at) = listen(&authority.credentials("server")).await;
        let credentials = authority.credentials("client");
        let client = task::spawn(async move { connect(&at, &credentials, soon()).await });
        let server = listener.accept().await.unwrap();
        let client = client.await.unwrap().unwrap();
        let ends: Vec<_> = [client, server]
            .into_iter()
            .map(|end| {
                let (mut sender, mut receiver) = end.split();
                let sending = task::spawn(async move {
                    for size in [1, 70_000, FRAME_MAX, 0] {
                        sender.send(Bytes::from(vec![size as u8; size])).await.unwrap();
                    }
                    sender.close().await.unwrap();
                });
                task::spawn(async move {
                    for size in [1, 70_000, FRAME_MAX, 0] {
                        let frame = receiver.recv().await.unwrap().unwrap();
                        assert!(frame.len() == size && frame.iter().all(|byte| *byte == size as u8));
                    }
                    assert_eq!(receiver.recv().await, Ok(None));
                    sending.await.unwrap();
                })
            })
            .collect();
        for end in ends {
            end.await.unwrap();
        }
    });
}
