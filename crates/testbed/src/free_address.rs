//! Addresses for programs that bind them by themselves and cannot be handed a listener.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Below the ports that Linux gives to outgoing connections (`ip_local_port_range`, 32768 and up): one of those may be taken
/// by any connection between the moment it was found free and the moment the program binds it.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A loopback address that nobody listens on. Each call gives another one, and processes begin at different ones.
pub fn free_address() -> Result<SocketAddr> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let at = process::id().wrapping_mul(37) + GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + at % COUNT)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port from {FIRST} on is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_one_and_none_is_taken() {
        let first = free_address().expect("a free port");
        let _taken = TcpListener::bind(first).expect("it is free");
        let second = free_address().expect("a free port");
        assert_ne!(first, second);
        assert!(u32::from(second.port()) < FIRST + COUNT);
    }
}
