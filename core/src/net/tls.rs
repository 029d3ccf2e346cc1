use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::types::{Error, ErrorKind, Result};

/// The cryptography of every connection of this crate: ring.
pub(crate) fn crypto() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

/// How clients of this crate speak TLS: they trust the certificates in this file (PEM), or without one what the
/// system trusts, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name. That is read once per process. A system without
/// certificates trusts nobody, which its first connection by TLS reports. `InvalidConfig` for a file without any.
pub(crate) fn client_tls_trusting(ca: Option<&Path>) -> Result<ClientConfig> {
    let roots = match ca {
        Some(file) => roots_in(file)?,
        None => system_roots(),
    };
    let config = ClientConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Internal, "TLS cannot be set up").with_source(e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// How servers of this crate speak TLS: HTTP/1.1, with the certificates in one file and their private key in another
/// (PEM both). `InvalidConfig` if they cannot be read or do not belong together.
pub(crate) fn server_tls(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let chain = certificates_in(certificates)?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, "private key", &e))?;
    let mut config = ServerConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Internal, "TLS cannot be set up").with_source(e))?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|e| {
            let message =
                format!("{} and {} do not work together: {e}", certificates.display(), key.display());
            Error::new(ErrorKind::InvalidConfig, message)
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates_in(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<std::result::Result<Vec<_>, pem::Error>>();
    let found = read().map_err(|e| unreadable(file, "certificates", &e))?;
    if found.is_empty() {
        return Err(unreadable(file, "certificates", &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn roots_in(file: &Path) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_in(file)? {
        roots.add(certificate).map_err(|e| {
            let message = format!("a certificate in {} cannot be used: {e}", file.display());
            Error::new(ErrorKind::InvalidConfig, message)
        })?;
    }
    Ok(Arc::new(roots))
}

/// The error's text is told, which has nothing of the file in it.
fn unreadable(file: &Path, what: &str, error: &pem::Error) -> Error {
    let why = match error {
        pem::Error::Io(e) => e.to_string(),
        pem::Error::NoItemsFound => "it has none".to_owned(),
        _ => "it is no PEM".to_owned(),
    };
    Error::new(ErrorKind::InvalidConfig, format!("the {what} in {} cannot be read: {why}", file.display()))
}

fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "a certificate of the system cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    });
    Arc::clone(roots)
}
