//! HAProxy and nginx as child processes, with the configurations of `deploy/`: addresses, ports and times are exchanged,
//! everything else is what operators get.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::fleet::Fleet;
use crate::gateway::{Gateway, free_port};
use crate::{raw, wait};

/// Which program, with which configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `deploy/haproxy/tcp.cfg`: passes bytes through, announces clients by the PROXY protocol.
    HaproxyTcp,
    /// `deploy/haproxy/http.cfg`: forwarding fields.
    HaproxyHttp,
    /// `deploy/nginx/nginx.conf`: forwarding fields.
    Nginx,
}

/// A load balancer in front of a fleet's two nodes; killed when dropped.
pub struct Balancer {
    child: Child,
    dir: TempDir,
    /// Where clients connect.
    pub address: SocketAddr,
}

/// Replaces text that has to be there.
fn exchange(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "not in the configuration: {old}");
    text.replace(old, new)
}

/// Debian's daemons are where a user's search path may not lead.
fn program(name: &str) -> PathBuf {
    let there = Path::new("/usr/sbin").join(name);
    if there.exists() { there } else { name.into() }
}

impl Kind {
    fn configuration(self) -> String {
        let file = match self {
            Self::HaproxyTcp => "haproxy/tcp.cfg",
            Self::HaproxyHttp => "haproxy/http.cfg",
            Self::Nginx => "nginx/nginx.conf",
        };
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy");
        std::fs::read_to_string(deploy.join(file)).unwrap()
    }

    fn here(self, text: &str, fleet: &Fleet, listen: SocketAddr, dir: &Path) -> String {
        let nodes = [("10.0.1.1:8080", &fleet.a), ("10.0.1.2:8080", &fleet.b)];
        let mut text = text.to_owned();
        for (name, node) in nodes {
            text = exchange(&text, name, &self.server(node));
        }
        match self {
            Self::HaproxyTcp => exchange(&text, "bind :443", &format!("bind {listen}")),
            Self::HaproxyHttp => {
                exchange(&text, "bind :443 ssl crt /etc/haproxy/site.pem alpn http/1.1", &format!("bind {listen}"))
            }
            Self::Nginx => {
                text = exchange(&text, "listen 443 ssl;", &format!("listen {listen};"));
                let (before, rest) = text.split_once("        ssl_certificate ").unwrap();
                let (_, after) = rest.split_once("site.key;\n").unwrap();
                exchange(&format!("{before}{after}"), "/run/nginx.pid", &dir.join("pid").display().to_string())
            }
        }
        .replace("check port 9090 inter 1s", "check inter 200ms")
        // two descriptors a connection, and a test may have 20,000
        .replace("maxconn 40000", "maxconn 1000")
    }

    fn server(self, node: &Gateway) -> String {
        match self {
            Self::Nginx => node.public.to_string(),
            _ => format!("{} port {}", node.public, node.private.port()),
        }
    }

    fn command(self, file: &Path, dir: &Path) -> Command {
        match self {
            Self::HaproxyTcp | Self::HaproxyHttp => {
                let mut command = Command::new(program("haproxy"));
                command.arg("-db").arg("-f").arg(file);
                command
            }
            Self::Nginx => {
                let mut command = Command::new(program("nginx"));
                command.arg("-p").arg(dir).arg("-e").arg("stderr").arg("-c").arg(file).args(["-g", "daemon off;"]);
                command
            }
        }
    }
}

impl Balancer {
    /// Starts one and waits until it answers for a node; `change` is the last word on its configuration.
    ///
    /// # Panics
    /// When the program is not installed (Debian: haproxy, nginx-light), or does not take the configuration.
    #[must_use]
    pub fn start(kind: Kind, fleet: &Fleet, change: impl FnOnce(String) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = free_port();
        let file = dir.path().join("balancer.cfg");
        std::fs::write(&file, change(kind.here(&kind.configuration(), fleet, address, dir.path()))).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = kind.command(&file, dir.path());
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let child = child.unwrap_or_else(|error| panic!("{kind:?}: {error} (Debian: haproxy, nginx-light)"));
        let mut balancer = Self { child, dir, address };
        wait::until("the load balancer to answer for a node", || {
            let ended = balancer.child.try_wait().unwrap();
            assert!(ended.is_none(), "{kind:?} ended:\n{}", balancer.log());
            raw::try_get(address, "/nothing").filter(|answer| answer.status == 404)
        });
        balancer
    }

    /// What it said so far.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // the master of nginx ends its workers only when it is asked to
        let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
