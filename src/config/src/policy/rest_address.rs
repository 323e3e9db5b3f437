//! Address of slurmrestd: a socket on this machine, an address of this machine, or any host
//! over TLS. Requests carry a token that may drain nodes, so no other address is accepted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use trimtab_core::ids::ParseIdError;

/// Where slurmrestd listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestAddress {
    /// `unix:/run/slurmrestd/slurmrestd.socket`.
    Socket(PathBuf),
    /// `http://127.0.0.1:6820`: an address of this machine, without encryption.
    Loopback(SocketAddr),
    /// `https://slurm.example.com:6820`.
    Tls {
        /// A name or an address, without brackets.
        host: String,
        port: u16,
    },
}

impl FromStr for RestAddress {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseIdError {
            text: text.to_owned(),
            wanted: "a safe address of slurmrestd",
        })
    }
}

fn parse(text: &str) -> Option<RestAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return path.is_absolute().then_some(RestAddress::Socket(path));
    }
    let (scheme, place) = text.split_once("://")?;
    let place = place.strip_suffix('/').unwrap_or(place);
    let (host, port) = place.rsplit_once(':')?;
    let port = Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()))?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let v6: Option<Ipv6Addr> = v6.and_then(|host| host.parse().ok());
    match scheme {
        "http" => {
            // A name can resolve to another machine. The only exception is localhost.
            let host = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
            let address = v6.map(IpAddr::from).or_else(|| host.parse().ok())?;
            let address = SocketAddr::new(address, port);
            address.ip().is_loopback().then_some(RestAddress::Loopback(address))
        }
        "https" => {
            let is_name = |host: &str| {
                !host.is_empty()
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
            };
            let named = is_name(host).then(|| host.to_owned());
            let host = v6.map(|address| address.to_string()).or(named)?;
            Some(RestAddress::Tls { host, port })
        }
        _ => None,
    }
}

impl fmt::Display for RestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Loopback(address) => write!(f, "http://{address}"),
            Self::Tls { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Tls { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_this_machine_or_by_tls() {
        for (text, shown) in [
            ("unix:/run/slurmrestd/slurmrestd.socket", "unix:/run/slurmrestd/slurmrestd.socket"),
            ("http://127.0.0.1:6820", "http://127.0.0.1:6820"),
            ("http://localhost:6820/", "http://127.0.0.1:6820"),
            ("http://[::1]:6820", "http://[::1]:6820"),
            ("https://slurm.example.com:6820", "https://slurm.example.com:6820"),
            ("https://10.0.0.1:443/", "https://10.0.0.1:443"),
            ("https://[2600::1]:6820", "https://[2600::1]:6820"),
        ] {
            let address = text.parse::<RestAddress>().expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address), "{text}");
        }
        for text in [
            "",
            "unix:slurmrestd.socket",
            "/run/slurmrestd/slurmrestd.socket",
            "http://10.0.0.1:6820",
            "http://slurm.example.com:6820",
            "http://127.0.0.1.example.com:6820",
            "http://localhost@10.0.0.1:6820",
            "https://slurm.example.com",
            "https://user@slurm.example.com:6820",
            "https://slurm.example.com:6820/slurm",
            "https://slurm.example.com:0",
            "https://slurm.example.com:+1",
            "https://[x]:6820",
            "https://:6820",
            "ftp://127.0.0.1:6820",
        ] {
            assert!(text.parse::<RestAddress>().is_err(), "{text}");
        }
    }
}
