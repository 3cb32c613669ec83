//! The TLS side of the listener: rustls with one provider, TLS 1.2 and 1.3, ALPN `http/1.1` only.

use std::path::Path;
use std::sync::Arc;

use portcullis_common::config::model::{Tls, TlsMode, TlsVersion};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Builds the acceptor's configuration; `None` where this process does not end TLS.
///
/// # Errors
/// A configuration path and a sentence: missing files, no certificate, a key that does not fit.
pub fn server_config(tls: &Tls) -> Result<Option<Arc<ServerConfig>>, (String, String)> {
    if tls.mode != TlsMode::Required {
        return Ok(None);
    }
    let chain = certificates(tls.cert_file.as_deref())?;
    let key = private_key(tls.key_file.as_deref())?;
    let versions: &[&rustls::SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|e| ("tls.min_version".to_owned(), e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| ("tls.key_file".to_owned(), format!("does not fit tls.cert_file: {e}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

fn certificates(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, (String, String)> {
    let at = |problem: String| ("tls.cert_file".to_owned(), problem);
    let file = file.ok_or_else(|| at("is required with tls.mode = \"required\"".to_owned()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(|e| at(e.to_string()))?.collect();
    let chain = chain.map_err(|e| at(e.to_string()))?;
    if chain.is_empty() {
        return Err(at("holds no certificate".to_owned()));
    }
    Ok(chain)
}

fn private_key(file: Option<&Path>) -> Result<PrivateKeyDer<'static>, (String, String)> {
    let at = |problem: String| ("tls.key_file".to_owned(), problem);
    let file = file.ok_or_else(|| at("is required with tls.mode = \"required\"".to_owned()))?;
    PrivateKeyDer::from_pem_file(file).map_err(|e| at(format!("holds no private key: {e}")))
}
