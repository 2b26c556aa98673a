//! TLS of SIP: who signs the far ends' certificates, and which certificate is ours.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;

/// Who signs the certificates of far ends. Cloning it is cheap, making it is not.
#[derive(Clone)]
pub struct TlsTrust {
    ca_file: Option<Arc<Path>>,
    config: Arc<ClientConfig>,
}

/// Why nobody can be trusted.
#[derive(Debug, Error)]
pub enum TlsTrustError {
    /// The file can't be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// As configured.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The file is no PEM.
    #[error("{path}: {source}")]
    Pem {
        /// As configured.
        path: PathBuf,
        /// Where.
        source: pem::Error,
    },
    /// There is no certificate in the file, or none on the system.
    #[error("there is no certificate in {0}")]
    NoCertificate(String),
    /// A certificate of the file, or the provider, is of no use.
    #[error(transparent)]
    Unusable(#[from] rustls::Error),
}

impl TlsTrust {
    /// The authorities of a PEM file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_ca_file(path: &Path) -> Result<Self, TlsTrustError> {
        let mut roots = RootCertStore::empty();
        add_file(&mut roots, path)?;
        Self::new(roots, Some(Arc::from(path)))
    }

    /// The authorities of this system.
    ///
    /// # Errors
    /// It has none.
    pub fn of_the_system() -> Result<Self, TlsTrustError> {
        Self::of_the_system_and(None)
    }

    /// The authorities of this system, and those of a PEM file.
    ///
    /// # Errors
    /// What is wrong with the file; there is none, and the system has none either.
    pub fn of_the_system_and(ca_file: Option<&Path>) -> Result<Self, TlsTrustError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Systems carry some that are malformed; the others are good.
        roots.add_parsable_certificates(found.certs);
        if let Some(path) = ca_file {
            add_file(&mut roots, path)?;
        }
        if roots.is_empty() {
            let place = "the system's certificate store".to_owned();
            return Err(TlsTrustError::NoCertificate(place));
        }
        Self::new(roots, ca_file.map(Arc::from))
    }

    fn new(roots: RootCertStore, ca_file: Option<Arc<Path>>) -> Result<Self, TlsTrustError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            ca_file,
            config: Arc::new(config),
        })
    }

    /// The file; none for the system's.
    pub(super) fn ca_file(&self) -> Option<Arc<Path>> {
        self.ca_file.clone()
    }

    pub(in super::super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsTrustError> {
    let pem = fs::read(path).map_err(|source| TlsTrustError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|source| TlsTrustError::Pem {
            path: path.to_owned(),
            source,
        })?;
        roots.add(certificate)?;
        count += 1;
    }
    match count {
        0 => Err(TlsTrustError::NoCertificate(path.display().to_string())),
        _ => Ok(()),
    }
}

impl fmt::Debug for TlsTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTrust")
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// The gateway's certificate for SIP: its own ALPN is that of WebSockets, and peers that offer one of SIP would be refused.
pub(super) fn for_sip(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols.clear();
    Arc::new(config)
}
