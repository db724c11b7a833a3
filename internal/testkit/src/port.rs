//! Ports that a test gives to processes: each is reserved for the test for as long as its [`Port`] lives, whether or
//! not a process listens on it at the moment.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of 127.0.0.1. While this value lives, the system gives the port neither to a process that asks for any port
/// nor to an outgoing connection: a socket is bound to it that does not listen. A program that asks for this very port,
/// with `SO_REUSEADDR` as servers do, may listen on it, and again after it has ended.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Panics
    /// All ports are taken.
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.set_reuseaddr(true).expect("a socket takes the option");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("there are free ports");
        let address = socket.local_addr().expect("it is bound");
        Self { address, _bound: socket }
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.address.port()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// `std`'s listeners reuse addresses, as the program's do.
    #[tokio::test]
    async fn reserved_port_can_be_bound_repeatedly() {
        let port = Port::reserve();
        assert!(TcpStream::connect(port.address()).is_err(), "somebody listens");
        for _ in 0..2 {
            let listener = TcpListener::bind(port.address()).expect("the port is the test's");
            let client = TcpStream::connect(port.address()).expect("it listens");
            let (accepted, _) = listener.accept().expect("it is connected to");
            drop((accepted, client));
        }
    }

    #[tokio::test]
    async fn a_reserved_port_is_given_to_nobody_else() {
        let ports: Vec<_> = (0..50).map(|_| Port::reserve()).collect();
        for _ in 0..200 {
            let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are free ports");
            let other = other.local_addr().expect("it is bound");
            assert!(ports.iter().all(|port| port.address() != other), "{other} was given");
        }
    }
}
