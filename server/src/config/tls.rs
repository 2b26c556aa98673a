//! The TLS certificate and its key: read from PEM, checked to belong together.

use std::path::Path;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use super::ServerConfig;
use super::document::{KEY_FILE_LEN_MAX, read_bounded};

/// TLS files that can't be served.
#[derive(Debug, Error)]
pub enum TlsFileError {
    /// `cert_file` can't be read, or holds no certificate.
    #[error("{0}")]
    Certificate(String),
    /// `key_file` can't be read, holds no private key, or one that is not the certificate's.
    #[error("{0}")]
    Key(String),
}

impl ServerConfig {
    /// Reads the certificate chain and the key anew: at start, and at each reload.
    ///
    /// # Errors
    /// A file can't be read, has no PEM of its kind, or the key does not belong to the certificate.
    pub fn certified_key(&self) -> Result<CertifiedKey, TlsFileError> {
        certified_key(&self.cert_file, &self.key_file)
    }
}

pub(super) fn certified_key(
    cert_file: &Path,
    key_file: &Path,
) -> Result<CertifiedKey, TlsFileError> {
    let unreadable = |path: &Path, error| format!("{}: {error}", path.display());
    let certificates = read_bounded(cert_file, KEY_FILE_LEN_MAX)
        .map_err(|error| TlsFileError::Certificate(unreadable(cert_file, error)))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificates)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsFileError::Certificate(format!("{}: {error}", cert_file.display())))?;
    if chain.is_empty() {
        return Err(TlsFileError::Certificate(format!(
            "{} holds no PEM certificate",
            cert_file.display()
        )));
    }
    let key = read_bounded(key_file, KEY_FILE_LEN_MAX)
        .map_err(|error| TlsFileError::Key(unreadable(key_file, error)))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| {
        TlsFileError::Key(format!("{} holds no PEM private key", key_file.display()))
    })?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| {
        TlsFileError::Key(format!(
            "{} is not the key of the certificate in {}: {error}",
            key_file.display(),
            cert_file.display()
        ))
    })
}
