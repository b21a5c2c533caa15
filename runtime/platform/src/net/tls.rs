//! TLS 1.3 with certificates on both sides, over rustls and aws-lc-rs.
//! A peer is believed when its chain ends at our authority; its name is its certificate's first DNS name. Which name was wanted
//! is not asked here: addresses are IP addresses, and the caller decides by the name that was proven. No revocation lists.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme, version,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::identity::check_name;
use super::{CredentialsError, NetError, real};

/// Both roles' configurations, from one certificate.
#[derive(Clone)]
pub(super) struct Keys {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Keys {
    /// The certificate's name, and the keys.
    pub fn from_pem(
        certificate: &[u8],
        key: &[u8],
        authority: &[u8],
    ) -> Result<(String, Self), CredentialsError> {
        let wrong = |what, reason: String| CredentialsError::Pem { what, reason };
        let chain = certificates("certificate", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong("key", error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for root in certificates("authority", authority)? {
            roots.add(root).map_err(|error| wrong("authority", error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let name = name_of(&chain[0]).map_err(|reason| wrong("certificate", reason))?;

        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| wrong("authority", error.to_string()))?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .and_then(|builder| {
                builder.with_client_cert_verifier(clients).with_single_cert(chain.clone(), key.clone_key())
            })
            .map_err(|error| wrong("key", error.to_string()))?;
        let servers =
            Arc::new(SignedByOurs { roots, algorithms: provider.signature_verification_algorithms });
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .and_then(|builder| {
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(servers)
                    .with_client_auth_cert(chain, key)
            })
            .map_err(|error| wrong("key", error.to_string()))?;
        client.enable_sni = false;
        let keys = Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() };
        Ok((name, keys))
    }

    pub async fn accept<S: Bytes>(&self, stream: S) -> Result<(TlsStream<S>, String), NetError> {
        let stream = self.acceptor.accept(stream).await.map_err(|error| untrusted(&error))?;
        with_name(stream.into())
    }

    pub async fn connect<S: Bytes>(&self, at: IpAddr, stream: S) -> Result<(TlsStream<S>, String), NetError> {
        let at = ServerName::IpAddress(at.into());
        let stream = self.connector.connect(at, stream).await.map_err(|error| untrusted(&error))?;
        with_name(stream.into())
    }
}

/// A stream of bytes that TLS can stand on.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Bytes for S {}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            let reason = "it holds no PEM block of the kind CERTIFICATE".to_owned();
            Err(CredentialsError::Pem { what, reason })
        }
        Ok(found) => Ok(found),
        Err(error) => Err(CredentialsError::Pem { what, reason: error.to_string() }),
    }
}

fn name_of(certificate: &CertificateDer<'_>) -> Result<String, String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|error| error.to_string())?;
    let Some(name) = parsed.valid_dns_names().next() else {
        return Err("it names nobody: give it a DNS name among its subject alternative names".to_owned());
    };
    // A wildcard is a valid DNS name of a certificate, and nobody's name.
    check_name(name).map_err(|error| error.to_string())?;
    Ok(name.to_owned())
}

fn with_name<S>(stream: TlsStream<S>) -> Result<(TlsStream<S>, String), NetError> {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let name = match certificate {
        Some(certificate) => name_of(certificate),
        None => Err("it sent no certificate".to_owned()),
    };
    match name {
        Ok(name) => Ok((stream, name)),
        Err(reason) => Err(NetError::Untrusted { reason }),
    }
}

/// A handshake's failure: the two ends do not believe each other, unless the network failed first.
fn untrusted(error: &std::io::Error) -> NetError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(reason) => NetError::Untrusted { reason: reason.to_string() },
        None => match real::stream_error("a TLS handshake", error) {
            NetError::Reset => {
                let reason = "it ended the connection during the TLS handshake".to_owned();
                NetError::Untrusted { reason }
            }
            other => other,
        },
    }
}

/// Believes servers whose chain ends at our authority, whatever their address.
#[derive(Debug)]
struct SignedByOurs {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for SignedByOurs {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
