//! `keygen`: a self-signed certificate for development, and the Ed25519 key that signs tokens.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ED25519,
};

use super::CommandError;

/// How long the certificate is valid: the most that Apple's clients accept.
const VALID_DAYS: u64 = 825;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Only the owner reads and writes.
const FILE_MODE: u32 = 0o600;

#[derive(Debug, Args)]
pub(super) struct KeygenArgs {
    /// Where the TLS certificate goes (PEM)
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Where the key of the TLS certificate goes (PEM)
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
    /// Where the key that signs tokens goes (PEM): [server] token_key_file
    #[arg(long, value_name = "FILE")]
    token_key: PathBuf,
    /// Another DNS name or IP address for the certificate; may be repeated
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

/// Writes the three files, each readable by its owner alone; none if one of them exists.
pub(super) fn keygen(arguments: &KeygenArgs) -> Result<(), CommandError> {
    let paths = [
        &arguments.tls_cert,
        &arguments.tls_key,
        &arguments.token_key,
    ];
    if let Some(twice) = paths
        .iter()
        .enumerate()
        .find_map(|(i, path)| paths[..i].contains(path).then_some(path))
    {
        return Err(CommandError::Other(format!(
            "{} is named for two files",
            twice.display()
        )));
    }
    if let Some(path) = paths
        .iter()
        .find(|path| path.exists())
        .filter(|_| !arguments.force)
    {
        return Err(CommandError::Other(format!(
            "{} exists; --force overwrites it",
            path.display()
        )));
    }
    let failed =
        |error: rcgen::Error| CommandError::Other(format!("the keys can't be made: {error}"));
    let tls_key = KeyPair::generate().map_err(failed)?;
    let certificate =
        certificate_params(&arguments.names).and_then(|params| params.self_signed(&tls_key));
    let certificate = certificate.map_err(failed)?;
    let token_key = KeyPair::generate_for(&PKCS_ED25519).map_err(failed)?;
    for (path, pem) in paths.into_iter().zip([
        certificate.pem(),
        tls_key.serialize_pem(),
        token_key.serialize_pem(),
    ]) {
        write_private(path, &pem)
            .map_err(|error| CommandError::Other(format!("{}: {error}", path.display())))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn certificate_params(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    all.extend(
        names
            .iter()
            .filter(|name| !["localhost", "127.0.0.1", "::1"].contains(&name.as_str()))
            .cloned(),
    );
    let mut params = CertificateParams::new(all)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "clutchcall-gateway (self-signed)");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // An hour back, for clients whose clock is behind.
    let start = SystemTime::now() - Duration::from_secs(3600);
    params.not_before = start.into();
    params.not_after = (start + DAY * VALID_DAYS as u32).into();
    Ok(params)
}

/// Writes a new file with [`FILE_MODE`] from its first byte on.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
