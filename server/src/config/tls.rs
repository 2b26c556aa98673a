//! The TLS certificate and its key, checked at load: readable, PEM, and belonging together; and the authorities that sign those
//! of far ends.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use shards::tls::{TlsConfigError, server_config};
use thiserror::Error;

use super::document::{KEY_FILE_LEN_MAX, read_bounded};
use super::section::Section;

/// TLS files that can't be served, by the key of the file that is to blame.
#[derive(Debug, Error)]
pub(super) enum TlsFileError {
    /// `cert_file`
    #[error("{0}")]
    Certificate(String),
    /// `key_file`
    #[error("{0}")]
    Key(String),
}

/// Reads both files as the listeners will.
pub(super) fn check_tls_files(cert_file: &Path, key_file: &Path) -> Result<(), TlsFileError> {
    let read = |path: &Path| {
        read_bounded(path, KEY_FILE_LEN_MAX).map_err(|error| format!("{}: {error}", path.display()))
    };
    let certificate = read(cert_file).map_err(TlsFileError::Certificate)?;
    let key = read(key_file).map_err(TlsFileError::Key)?;
    match server_config(&certificate, &key) {
        Ok(_) => Ok(()),
        Err(error @ (TlsConfigError::CertificatePem(_) | TlsConfigError::NoCertificate)) => Err(
            TlsFileError::Certificate(format!("{}: {error}", cert_file.display())),
        ),
        Err(error @ (TlsConfigError::NoPrivateKey | TlsConfigError::Unusable(_))) => Err(
            TlsFileError::Key(format!("{}: {error}", key_file.display())),
        ),
    }
}

/// A file with PEM certificates of authorities, if `key` names one.
pub(super) fn ca_file(section: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
    let located = section.text(key)?;
    let path = section.document().resolve(&located.value);
    check_ca_file(&path)
        .map_err(|message| section.wrong(&located, format!("{}: {message}", path.display())))
        .ok()?;
    Some(path)
}

fn check_ca_file(path: &Path) -> Result<(), String> {
    let pem = read_bounded(path, KEY_FILE_LEN_MAX).map_err(|error| error.to_string())?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("holds no PEM certificate".to_owned());
    }
    Ok(())
}
