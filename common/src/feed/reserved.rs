//! Ranges that no list may name: nobody on the Internet has such an address, so whoever comes from one is a neighbour.
//! From the registries of special-purpose addresses (RFC 6890 and what came after it).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), length)
}

const fn v6(a: u16, b: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

/// This network, private, shared (CGNAT), loopback, link-local, protocols, documentation, benchmarks, multicast and all
/// behind it.
const V4: &[Ipv4Net] = &[
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 3),
];

/// All of IPv6 that is given to anybody.
const GIVEN: Ipv6Net = v6(0x2000, 0, 3);

/// Of it: protocols with Teredo, documentation, 6to4 (which is the address of an IPv4 host, and listed as such).
const V6: &[Ipv6Net] = &[v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

/// What a network has to do with reserved ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Nothing.
    None,
    /// It lies in one.
    Inside,
    /// It holds one, or a part.
    Around,
}

/// What a network has to do with reserved ranges.
#[must_use]
pub fn overlap(network: &IpNet) -> Overlap {
    let (inside, around) = match network {
        IpNet::V4(net) => (V4.iter().any(|r| r.contains(net)), V4.iter().any(|r| net.contains(r))),
        IpNet::V6(net) => (
            (!GIVEN.contains(net) && !net.contains(&GIVEN)) || V6.iter().any(|r| r.contains(net)),
            (net.contains(&GIVEN) && *net != GIVEN) || V6.iter().any(|r| net.contains(r)),
        ),
    };
    match (inside, around) {
        (true, _) => Overlap::Inside,
        (false, true) => Overlap::Around,
        (false, false) => Overlap::None,
    }
}
