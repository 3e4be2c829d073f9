//! Address that limits per address count.

use std::net::{IpAddr, Ipv6Addr};

/// Address that represents all addresses of one subscriber: an IPv4 address itself, also if written as IPv6, and
/// the /64 network of an IPv6 address, because a single machine has the whole network at its disposal.
#[must_use]
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_one_whatever_address_it_takes() {
        let of = |text: &str| subscriber(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_eq!(of("::ffff:10.0.0.9"), of("10.0.0.9"));
        assert_ne!(of("10.0.0.8"), of("10.0.0.9"));
    }
}
