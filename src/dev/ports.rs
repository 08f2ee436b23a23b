//! Ports of the loopback for processes that are started later, and again after they were killed.
//!
//! A port that is only looked for and let go may be given to anybody until its own process listens there. So a socket
//! stays bound to it, without listening, until this process ends: nobody else is given the port, whoever connects is
//! refused, and who binds it by number with `SO_REUSEADDR`, as every server does, may listen.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::IntoRawFd;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};

/// Keeps this port, or any for 0, until the process ends.
///
/// # Errors
/// Somebody has it.
pub fn reserve(port: u16) -> io::Result<u16> {
    let kept = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // The kernel gives a port that is looked for to nobody twice, whatever its sockets allow.
    sockopt::set_socket_reuseaddr(&kept, true)?;
    bind(&kept, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let bound = SocketAddr::try_from(getsockname(&kept)?)?;
    // Closed by the kernel at the end of the process.
    let _ = kept.into_raw_fd();
    Ok(bound.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_port_is_given_once_and_may_be_listened_at() {
        let port = reserve(0).unwrap();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(reserve(port).is_err());
        drop(listener);
        // As many as the kernel has.
        for _ in 0..40_000 {
            let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            assert_ne!(other.local_addr().unwrap().port(), port);
        }
    }
}
