//! TLS of the client's side: one authority is trusted, nothing is resumed, so that every handshake is a whole one.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::Outcome;

/// Trusts what `file` (PEM) holds.
///
/// # Errors
/// The file can't be read or holds no certificate.
pub fn client(file: &Path) -> Outcome<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file).map_err(|error| format!("{}: {error}", file.display()))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// A socket, with TLS over it where asked for.
pub struct Stream {
    tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    /// `name` is what the certificate must be good for.
    ///
    /// # Errors
    /// TLS can't begin.
    pub fn new(tcp: TcpStream, tls: Option<&Arc<ClientConfig>>, name: std::net::IpAddr) -> Outcome<Self> {
        let begin = |config: &Arc<ClientConfig>| -> Outcome<Box<ClientConnection>> {
            let mut connection = ClientConnection::new(Arc::clone(config), ServerName::IpAddress(name.into()))?;
            connection.set_buffer_limit(None);
            Ok(Box::new(connection))
        };
        Ok(Self { tcp, tls: tls.map(begin).transpose()? })
    }

    /// The socket itself.
    pub fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    /// Whether a read that did not fill its buffer has taken all there is.
    #[must_use]
    pub fn short_is_all(&self) -> bool {
        self.tls.is_none()
    }

    /// Sends what TLS still has to send.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn flush_tls(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.tcp) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As [`Read::read`] of what the server said.
    ///
    /// # Errors
    /// `WouldBlock`, or the connection is lost.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(tls) = &mut self.tls else { return self.tcp.read(buffer) };
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if tls.read_tls(&mut self.tcp)? == 0 {
                return Ok(0);
            }
            let done = tls.process_new_packets();
            // an alert of ours is worth sending too
            self.flush_tls()?;
            done.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// As [`Write::write`]; TLS takes everything and sends it when it can.
    ///
    /// # Errors
    /// `WouldBlock`, or the connection is lost.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.tcp.write(bytes) };
        let taken = tls.writer().write(bytes)?;
        self.flush_tls()?;
        Ok(taken)
    }
}
