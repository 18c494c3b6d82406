//! The load generator against servers that are wrong on purpose: it has to notice.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    process, thread,
};

use super::*;
use crate::{
    job::Service,
    oneway::{BLOCK, answer},
    pattern,
};

/// Runs a load of two connections against a server of ours, for 100 messages.
fn run(service: Service, place: SocketAddr, size: u64) -> io::Result<Window> {
    let orders = Orders {
        places: vec![Place::Ip(place)],
        service,
        shape: Shape::new(2, size, 2),
        server: process::id().cast_signed(),
        warm_up: false,
    };
    let (mut load, _) = Load::open(&orders)?;
    load.run(Until::Messages(100))
}

/// Serves each connection on a thread of its own, as `serve` does, until the test is over.
fn streams(serve: fn(TcpStream) -> io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The client ends it, or what it found wrong.
            thread::spawn(move || serve(stream).is_ok());
        }
    });
    address
}

/// Echoes what comes after `change` has had it, together with how much came before.
fn echo(mut stream: TcpStream, change: impl Fn(&mut [u8], u64)) -> io::Result<()> {
    let (mut buffer, mut position) = ([0; 4096], 0);
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        change(&mut buffer[..len], position);
        position += len as u64;
        stream.write_all(&buffer[..len])?;
    }
}

/// Flips the byte at position 1000.
fn flip(bytes: &mut [u8], position: u64) {
    if let Some(at) = 1000u64.checked_sub(position)
        && let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at))
    {
        *byte ^= 1;
    }
}

fn is_wrong(result: io::Result<Window>) -> bool {
    result.is_err_and(|err| err.kind() == io::ErrorKind::InvalidData)
}

#[test]
fn an_echo_with_one_wrong_byte_is_noticed() {
    let right = streams(|stream| echo(stream, |_, _| {}));
    assert_eq!(run(Service::Tcp, right, 64).unwrap().lost, 0);
    assert!(run(Service::Churn, right, 64).unwrap().messages_total >= 100);
    let wrong = streams(|stream| echo(stream, flip));
    assert!(is_wrong(run(Service::Tcp, wrong, 64)));
    assert!(is_wrong(run(Service::Churn, wrong, 2000)));
}

/// Echoes every packet, but holds the four that are under way together after the first four until the load has
/// given up on them, which the next packet tells; one comes twice if it is to.
fn packets_held(twice: bool) -> io::Result<Window> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let (mut buffer, mut held) = ([0; 2048], Vec::new());
        for number in 0.. {
            let (len, from) = socket.recv_from(&mut buffer)?;
            held.push((buffer[..len].to_vec(), from));
            if (4..8).contains(&number) {
                continue;
            }
            for (packet, from) in held.drain(..) {
                socket.send_to(&packet, from)?;
                if twice && number == 8 {
                    socket.send_to(&packet, from)?;
                }
            }
        }
        io::Result::Ok(())
    });
    run(Service::UdpApart, address, 64)
}

#[test]
fn packets_that_are_changed_joined_or_lost_are_noticed() {
    let packets = |change: fn(u64, &mut [u8]) -> usize| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            for number in 0.. {
                let (len, from) = socket.recv_from(&mut buffer[..2048])?;
                let sent = change(number, &mut buffer[..2 * len]);
                socket.send_to(&buffer[..sent], from)?;
            }
            io::Result::Ok(())
        });
        run(Service::Udp, address, 64)
    };
    assert_eq!(packets(|_, packet| packet.len() / 2).unwrap().lost, 0);
    assert!(is_wrong(packets(|_, packet| {
        packet[63] ^= 1;
        64
    })));
    let joined = packets(|_, packet| {
        packet.copy_within(..64, 64);
        128
    });
    assert!(is_wrong(joined), "two packets in one");
    assert_eq!(packets_held(false).unwrap().lost, 4, "they came after they were given up on");
    assert!(is_wrong(packets_held(true)), "some came twice");
    let window = packets(|number, packet| if number == 3 { 0 } else { packet.len() / 2 });
    assert!(is_wrong(window), "an empty packet");
}

#[test]
fn a_source_that_errs_and_a_sink_that_miscounts_are_noticed() {
    fn source(mut stream: TcpStream, change: fn(&mut [u8], u64)) -> io::Result<()> {
        let (mut asked, mut position) = ([0], 0);
        while stream.read(&mut asked)? > 0 {
            let end = position + BLOCK;
            while position < end {
                let mut chunk = pattern::at(0, position, 1000.min(end - position)).to_vec();
                change(&mut chunk, position);
                stream.write_all(&chunk)?;
                position += chunk.len() as u64;
            }
        }
        Ok(())
    }
    let right = streams(|stream| source(stream, |_, _| {}));
    assert!(run(Service::Source, right, BLOCK).unwrap().messages_total >= 100);
    let wrong = streams(|stream| source(stream, flip));
    assert!(is_wrong(run(Service::Source, wrong, BLOCK)));
    let miscounting = streams(|mut stream| {
        let mut first = (&mut stream).take(BLOCK);
        io::copy(&mut first, &mut io::sink())?;
        stream.write_all(answer(1))?;
        io::copy(&mut stream, &mut io::sink()).map(|_| ())
    });
    assert!(is_wrong(run(Service::Sink, miscounting, BLOCK)));
}
