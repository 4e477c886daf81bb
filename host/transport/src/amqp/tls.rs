//! TLS to the broker: the trusted authorities, and advice where trust fails. Knows no AMQP.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, pem};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why TLS fails. Waiting helps where only the network is to blame.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsError {
    /// The file with the authority cannot be used.
    #[error("{} holds no certificate that can be used: {what}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// The problem.
        what: String,
    },
    /// The system has no authorities.
    #[error("the system has no certificate authorities ({0}); install its `ca-certificates`, or name a file by `ca`")]
    NoAuthorities(String),
    /// The broker's certificate is not to be trusted.
    #[error("the certificate of `{host}` is refused: {what}; {hint}")]
    Certificate {
        /// The host of the URL.
        host: String,
        /// The problem.
        what: String,
        /// The advice.
        hint: &'static str,
    },
    /// The broker does not speak TLS, or ended the handshake.
    #[error("TLS with `{host}` failed: {what}; {hint}")]
    Handshake {
        /// The host of the URL.
        host: String,
        /// In the library's words.
        what: String,
        /// The advice.
        hint: &'static str,
    },
    /// The connection broke.
    #[error("TLS with `{host}` broke off: {what}")]
    Broken {
        /// The host of the URL.
        host: String,
        /// In the system's words.
        what: String,
    },
}

impl TlsError {
    /// Whether only a change of the file, or of the broker's certificate, helps.
    pub(super) fn is_permanent(&self) -> bool {
        !matches!(self, Self::Broken { .. })
    }
}

/// Reads the authorities in a PEM file.
///
/// # Errors
/// When there is none that can be used.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let unusable = |what: String| TlsError::Authority {
        path: path.to_owned(),
        what,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error: pem::Error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no `-----BEGIN CERTIFICATE-----` in it".to_owned()));
    }
    Ok(roots)
}

/// Speaks TLS on a connection; trusts the authorities of one file, or else the system's.
pub(super) async fn handshake(
    stream: TcpStream,
    host: &str,
    ca: Option<&Path>,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let handshake_error = |what: String, hint: &'static str| TlsError::Handshake {
        host: host.to_owned(),
        what,
        hint,
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| handshake_error(error.to_string(), "write the name that its certificate is for"))?;
    let roots = match ca {
        Some(ca) => authorities(ca)?,
        None => system_authorities()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| handshake_error(error.to_string(), "please report it"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| explain(host, &error))
}

/// The system's own, so that an authority that its administrator added is trusted here too.
fn system_authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoAuthorities(errors.join(", ")));
    }
    Ok(roots)
}

fn explain(host: &str, error: &io::Error) -> TlsError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (host, what) = (host.to_owned(), error.to_string());
    match inner {
        Some(rustls::Error::InvalidCertificate(problem)) => {
            let (what, hint) = judge(problem);
            TlsError::Certificate { host, what, hint }
        }
        Some(rustls::Error::InvalidMessage(_)) => TlsError::Handshake {
            host,
            what,
            hint: "is this the port for TLS (5671), and not the one for plain `amqp`?",
        },
        Some(_) => TlsError::Handshake {
            host,
            what,
            hint: "the broker's log says more; certificates of clients are not supported",
        },
        None => TlsError::Broken { host, what },
    }
}

fn judge(problem: &CertificateError) -> (String, &'static str) {
    const ISSUER: &str =
        "name the authority that signed it by `ca`; where one is named, it is not the one that signed it";
    const TIME: &str = "renew it, or set this machine's clock";
    const NAME: &str = "write the host as the certificate names it, or have one made for this name";
    let what = problem.to_string();
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (what, TIME),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (what, TIME),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (what, NAME),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            ("no trusted authority signed it".to_owned(), ISSUER)
        }
        _ => (what, ISSUER),
    }
}
