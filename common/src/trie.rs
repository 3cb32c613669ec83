//! Networks, and which of them an address is in: a binary trie with paths compressed (PATRICIA, D. R. Morrison 1968).
//!
//! What a look-up costs depends on how deep networks lie in each other and how close they are, never on how many prefix
//! lengths are in use: whoever fills a list with networks of every length makes nobody's look-up slow.

use std::net::IpAddr;
use std::num::NonZeroU8;

use ipnet::IpNet;

/// Nothing there.
const NONE: u32 = u32::MAX;

/// A node: a prefix, and whether it is a member or only where two others part. 32 bytes.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The prefix from the highest bit on; the rest is zero.
    bits: u128,
    children: [u32; 2],
    len: u8,
    /// What a member is marked with; `None`: only a fork.
    mark: Option<NonZeroU8>,
}

/// The networks of one family.
#[derive(Debug, Clone)]
struct Family {
    nodes: Vec<Node>,
    /// Places in `nodes` that are used again.
    free: Vec<u32>,
    root: u32,
}

/// Networks, each with a mark. IPv4 and IPv6 share nothing; host bits do not count. At most two nodes for each network.
#[derive(Debug, Clone, Default)]
pub struct NetworkMarks {
    v4: Family,
    v6: Family,
    len: usize,
}

/// A set of networks: [`NetworkMarks`] that are all alike.
#[derive(Debug, Clone, Default)]
pub struct NetworkSet(NetworkMarks);

impl Default for Family {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: NONE }
    }
}

/// An address from the highest bit on.
fn bits_of(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The first `len` bits.
fn cut(bits: u128, len: u8) -> u128 {
    if len == 0 { 0 } else { bits & (u128::MAX << (128 - u32::from(len.min(128)))) }
}

/// Which way to go behind the first `len` bits.
fn side(bits: u128, len: u8) -> usize {
    usize::from(bits.checked_shr(127_u32.saturating_sub(u32::from(len))).unwrap_or(0) & 1 == 1)
}

/// How many bits two prefixes have in common, at most `most`.
fn common(a: u128, b: u128, most: u8) -> u8 {
    u8::try_from((a ^ b).leading_zeros()).unwrap_or(128).min(most)
}

impl Family {
    fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(at).ok()?)
    }

    fn node_mut(&mut self, at: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(at).ok()?)
    }

    fn put(&mut self, node: Node) -> u32 {
        if let Some(at) = self.free.pop() {
            if let Some(place) = self.node_mut(at) {
                *place = node;
            }
            return at;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
    }

    /// Hangs `child` where `old` hung under `parent`, a node and a side of it; without a parent it is the root.
    fn hang(&mut self, parent: Option<(u32, usize)>, child: u32) {
        let place = match parent {
            None => Some(&mut self.root),
            Some((at, side)) => self.node_mut(at).and_then(|node| node.children.get_mut(side)),
        };
        if let Some(place) = place {
            *place = child;
        }
    }

    /// The mark that it had.
    fn insert(&mut self, bits: u128, len: u8, mark: NonZeroU8) -> Option<NonZeroU8> {
        let leaf = Node { bits, children: [NONE; 2], len, mark: Some(mark) };
        let (mut at, mut parent) = (self.root, None);
        while let Some(node) = self.node_mut(at) {
            let shared = common(bits, node.bits, len.min(node.len));
            if shared < node.len {
                let mark = leaf.mark.filter(|_| shared == len);
                let (old, mut fork) = (*node, Node { bits: cut(bits, shared), len: shared, mark, ..leaf });
                let below = if shared < len { self.put(leaf) } else { NONE };
                fork.children = if side(old.bits, shared) == 0 { [at, below] } else { [below, at] };
                let fork = self.put(fork);
                self.hang(parent, fork);
                return None;
            }
            if node.len == len {
                return node.mark.replace(mark);
            }
            let side = side(bits, node.len);
            parent = Some((at, side));
            at = node.children.get(side).copied().unwrap_or(NONE);
        }
        let leaf = self.put(leaf);
        self.hang(parent, leaf);
        None
    }

    /// The mark that it had.
    fn remove(&mut self, bits: u128, len: u8) -> Option<NonZeroU8> {
        let (mut at, mut parent, mut above) = (self.root, None, None);
        while let Some(node) = self.node_mut(at) {
            if common(bits, node.bits, node.len) < node.len || node.len > len {
                return None;
            }
            if node.len == len {
                let mark = node.mark.take()?;
                self.tidy(at, parent);
                if let Some((up, _)) = parent {
                    self.tidy(up, above);
                }
                return Some(mark);
            }
            let side = side(bits, node.len);
            above = parent;
            parent = Some((at, side));
            at = node.children.get(side).copied().unwrap_or(NONE);
        }
        None
    }

    /// Takes a node out that is no member and parts nothing.
    fn tidy(&mut self, at: u32, parent: Option<(u32, usize)>) {
        let Some(node) = self.node(at).filter(|node| node.mark.is_none()) else { return };
        let only = match node.children {
            [NONE, child] | [child, NONE] => child,
            _ => return,
        };
        self.hang(parent, only);
        self.free.push(at);
    }

    /// The lengths and marks of those that hold an address of these bits, the widest first, until `found` says true.
    fn any(&self, bits: u128, mut found: impl FnMut(u8, NonZeroU8) -> bool) -> bool {
        let mut at = self.root;
        while let Some(node) = self.node(at) {
            if common(bits, node.bits, node.len) < node.len {
                return false;
            }
            if node.mark.is_some_and(|mark| found(node.len, mark)) {
                return true;
            }
            at = node.children.get(side(bits, node.len)).copied().unwrap_or(NONE);
        }
        false
    }

    /// All of them in the order of their bits, of equal ones the widest first.
    fn each(&self, mut see: impl FnMut(u128, u8, NonZeroU8)) {
        let mut ahead = vec![self.root];
        while let Some(at) = ahead.pop() {
            let Some(node) = self.node(at) else { continue };
            if let Some(mark) = node.mark {
                see(node.bits, node.len, mark);
            }
            ahead.extend(node.children.iter().rev());
        }
    }
}

/// An address of a family from the highest bit on, and a length: the network, if there is such.
fn network_of(v4: bool, bits: u128, len: u8) -> Option<IpNet> {
    let ip =
        if v4 { IpAddr::from(u32::try_from(bits >> 96).ok()?.to_be_bytes()) } else { IpAddr::from(bits.to_be_bytes()) };
    IpNet::new(ip, len).ok()
}

impl NetworkMarks {
    fn family(&mut self, network: IpNet) -> (&mut Family, u128, u8) {
        let (bits, len) = (cut(bits_of(network.addr()), network.prefix_len()), network.prefix_len());
        match network {
            IpNet::V4(_) => (&mut self.v4, bits, len),
            IpNet::V6(_) => (&mut self.v6, bits, len),
        }
    }

    /// Marks exactly this network; the mark that it had.
    pub fn insert(&mut self, network: IpNet, mark: NonZeroU8) -> Option<NonZeroU8> {
        let (family, bits, len) = self.family(network);
        let old = family.insert(bits, len, mark);
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes exactly this network out; the mark that it had.
    pub fn remove(&mut self, network: IpNet) -> Option<NonZeroU8> {
        let (family, bits, len) = self.family(network);
        let gone = family.remove(bits, len);
        self.len -= usize::from(gone.is_some());
        gone
    }

    /// Goes through the networks that hold `ip`, the widest first, until `found` says true; whether it did. An
    /// IPv4-mapped address is an IPv6 address here: callers bring it into its canonical form first.
    pub fn any(&self, ip: IpAddr, mut found: impl FnMut(IpNet, NonZeroU8) -> bool) -> bool {
        let family = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        let whole = |len| IpNet::new(ip, len).map(|network| network.trunc());
        family.any(bits_of(ip), |len, mark| whole(len).is_ok_and(|network| found(network, mark)))
    }

    /// Every network, IPv4 first, in the order of their bits; of two that begin alike the wider first.
    pub fn each(&self, mut see: impl FnMut(IpNet, NonZeroU8)) {
        for (family, v4) in [(&self.v4, true), (&self.v6, false)] {
            family.each(|bits, len, mark| {
                if let Some(network) = network_of(v4, bits, len) {
                    see(network, mark);
                }
            });
        }
    }

    /// How many networks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl NetworkSet {
    /// Takes a network in; false when it was there.
    pub fn insert(&mut self, network: IpNet) -> bool {
        self.0.insert(network, NonZeroU8::MIN).is_none()
    }

    /// Takes exactly this network out; false when it was not there.
    pub fn remove(&mut self, network: IpNet) -> bool {
        self.0.remove(network).is_some()
    }

    /// As [`NetworkMarks::any`].
    pub fn any(&self, ip: IpAddr, mut found: impl FnMut(IpNet) -> bool) -> bool {
        self.0.any(ip, |network, _| found(network))
    }

    /// Whether some network holds `ip`.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.any(ip, |_| true)
    }

    /// How many networks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An address, or a network as in `10.0.0.0/8`; its host bits stay. `None` for anything else, and for leading zeros: what is
/// ten to one reader of `010.0.0.1` is eight to another.
#[must_use]
pub fn parse_network(text: &str) -> Option<IpNet> {
    let Some((address, length)) = text.split_once('/') else { return text.parse::<IpAddr>().ok().map(IpNet::from) };
    let plain = length == "0" || !length.starts_with('0') && length.bytes().all(|byte| byte.is_ascii_digit());
    IpNet::new(address.parse().ok()?, length.parse().ok().filter(|_| plain)?).ok()
}

/// Host bits zero, and a network of IPv4-mapped addresses as the IPv4 network that it is.
#[must_use]
pub fn canonical(network: IpNet) -> IpNet {
    if let (IpAddr::V4(v4), Some(length)) = (network.addr().to_canonical(), network.prefix_len().checked_sub(96))
        && matches!(network, IpNet::V6(_))
        && let Ok(mapped) = IpNet::new(IpAddr::V4(v4), length)
    {
        return mapped.trunc();
    }
    network.trunc()
}

impl FromIterator<IpNet> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut set = Self::default();
        for network in networks {
            set.insert(network);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_is_read_where_it_can_mean_but_one_thing() {
        for good in
            ["10.0.0.1", "10.0.0.0/8", "10.1.2.3/8", "0.0.0.0/0", "::/0", "2001:db8::/32", "::ffff:10.0.0.0/104"]
        {
            assert_eq!(parse_network(good).unwrap().to_string().trim_end_matches("/32"), good.trim_end_matches("/32"));
        }
        for bad in ["", "/", "10", "10.0.0.0/", "010.0.0.0/8", "09.0.0.0/8", "10.00.0.0", "10.0.0.0/08", "10.0.0.0/+8"]
            .into_iter()
            .chain(["10.0.0.0/00", "10.0.0.0/33", "::/129", "10.0.0.0/8/8", " 10.0.0.0/8", "fe80::1%1", "a.example/8"])
        {
            assert!(parse_network(bad).is_none(), "{bad}");
        }
    }

    fn holders(set: &NetworkSet, ip: &str) -> Vec<String> {
        let mut all = Vec::new();
        assert!(!set.any(ip.parse().unwrap(), |network| {
            all.push(network.to_string());
            false
        }));
        all
    }

    #[test]
    fn an_address_is_in_every_network_around_it_and_in_no_other() {
        let all = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "10.1.2.2/31", "::/0", "2001:db8::/32"];
        let set: NetworkSet = all.map(net).into_iter().collect();
        assert_eq!(set.len(), 7);
        assert_eq!(holders(&set, "10.1.2.3"), ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.2/31", "10.1.2.3/32"]);
        assert_eq!(holders(&set, "10.1.2.4"), ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16"]);
        assert_eq!(holders(&set, "2001:db8::1"), ["::/0", "2001:db8::/32"]);
        assert_eq!(holders(&set, "a00::"), ["::/0"], "families share nothing");
    }

    #[test]
    fn host_bits_do_not_count_and_nothing_is_there_twice() {
        let mut set = NetworkSet::default();
        assert!(set.insert(net("10.1.2.3/8")) && !set.insert(net("10.0.0.0/8")));
        assert!(set.contains("10.9.9.9".parse().unwrap()));
        assert!(set.remove(net("10.255.0.0/8")) && !set.remove(net("10.0.0.0/8")) && set.is_empty());
        assert!(!set.contains("10.9.9.9".parse().unwrap()));
    }

    #[test]
    fn what_is_taken_out_leaves_no_node_behind() {
        let mut set = NetworkSet::default();
        let all: Vec<IpNet> = (0..1_000_u32).map(|n| net(&format!("10.{}.{}.0/24", n / 250, n % 250))).collect();
        all.iter().for_each(|network| assert!(set.insert(*network)));
        all.iter().for_each(|network| assert!(set.remove(*network)));
        assert_eq!((set.0.v4.root, set.0.v4.free.len()), (NONE, set.0.v4.nodes.len()));
        let nodes = set.0.v4.nodes.len();
        all.iter().for_each(|network| assert!(set.insert(*network)));
        assert_eq!(set.0.v4.nodes.len(), nodes, "places are used again");
    }

    #[test]
    fn a_network_keeps_its_last_mark_and_all_are_told_in_order() {
        let mut marks = NetworkMarks::default();
        let mark = |n| NonZeroU8::new(n).unwrap();
        let all = ["2001:db8::/32", "10.1.0.0/16", "10.0.0.0/8", "9.0.0.0/8", "10.0.0.0/16", "::/0"];
        all.iter().zip(1..).for_each(|(text, n)| assert_eq!(marks.insert(net(text), mark(n)), None));
        assert_eq!(marks.insert(net("10.0.0.0/8"), mark(9)), Some(mark(3)));
        let mut seen = Vec::new();
        marks.each(|network, mark| seen.push((network.to_string(), mark.get())));
        let told = seen.iter().map(|(network, mark)| (network.as_str(), *mark)).collect::<Vec<_>>();
        assert_eq!(
            told,
            [
                ("9.0.0.0/8", 4),
                ("10.0.0.0/8", 9),
                ("10.0.0.0/16", 5),
                ("10.1.0.0/16", 2),
                ("::/0", 6),
                ("2001:db8::/32", 1)
            ]
        );
        assert_eq!((marks.remove(net("10.0.0.0/8")), marks.len()), (Some(mark(9)), 5));
    }

    fn network() -> impl Strategy<Value = IpNet> {
        // few bits, so that networks lie in each other
        let v4 = (0u32..16, 0u8..=32).prop_map(|(n, len)| IpNet::new(IpAddr::from((n << 28 | n).to_be_bytes()), len));
        let v6 =
            (0u128..16, 0u8..=128).prop_map(|(n, len)| IpNet::new(IpAddr::from((n << 124 | n).to_be_bytes()), len));
        prop_oneof![v4, v6].prop_map(|network| network.unwrap().trunc())
    }

    proptest! {
        #[test]
        fn it_answers_as_a_plain_list_would(
            steps in proptest::collection::vec((any::<bool>(), network()), 0..60),
            asked in proptest::collection::vec(network(), 0..20),
        ) {
            let (mut set, mut list) = (NetworkSet::default(), BTreeSet::new());
            for (put, network) in steps {
                if put {
                    prop_assert_eq!(set.insert(network), list.insert(network));
                } else {
                    prop_assert_eq!(set.remove(network), list.remove(&network));
                }
            }
            prop_assert_eq!(set.len(), list.len());
            for ip in asked.iter().map(IpNet::addr) {
                let mut seen = BTreeSet::new();
                set.any(ip, |network| { seen.insert(network); false });
                let expected: BTreeSet<IpNet> = list.iter().copied().filter(|network| network.contains(&ip)).collect();
                prop_assert_eq!(seen, expected);
            }
        }
    }
}
