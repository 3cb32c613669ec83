//! The codec alone behind a socket: `GET` anything with a `Sec-WebSocket-Key`, get your messages back.
//!
//! For the conformance suite and for measuring; it admits everybody and is no server for anything else.
//! `cargo run -p portcullis-gateway --example codec_echo -- 127.0.0.1:9002`

use std::io;
use std::rc::Rc;
use std::time::Duration;

use portcullis_common::clock::{Clock, SystemClock};
use portcullis_gateway::frame::{Decoder, Event, Limits, Opcode, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The suite sends 16 MiB messages and 4 MiB in 64-byte fragments.
const LIMITS: Limits = Limits { message: 16 << 20, fragments: 1 << 17, assembly: Duration::from_secs(60) };

/// How long the peer may take to hang up after the closing handshake.
const LINGER: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9002".to_owned());
    let listener = TcpListener::bind(&address).await?;
    let clock = Rc::new(SystemClock::default());
    let connections = tokio::task::LocalSet::new();
    connections
        .run_until(async move {
            loop {
                let (socket, _) = listener.accept().await?;
                let clock = Rc::clone(&clock);
                tokio::task::spawn_local(async move { serve(socket, &clock).await });
            }
        })
        .await
}

async fn serve(mut socket: TcpStream, clock: &SystemClock) -> io::Result<()> {
    socket.set_nodelay(true)?;
    handshake(&mut socket).await?;
    let (mut decoder, mut out, mut buffer) = (Decoder::new(), Vec::new(), vec![0; 64 * 1024]);
    while !decoder.is_finished() {
        let n = socket.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        answer(&mut decoder, buffer.get_mut(..n).unwrap_or_default(), clock, &mut out);
        // one write per read, however many messages it brought
        socket.write_all(&out).await?;
        out.clear();
    }
    socket.shutdown().await?;
    // bytes left unread would turn the close into a reset and could lose the close frame
    let _hung_up = tokio::time::timeout(LINGER, async {
        while socket.read(&mut buffer).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
    Ok(())
}

fn answer(decoder: &mut Decoder, bytes: &mut [u8], clock: &SystemClock, out: &mut Vec<u8>) {
    let mut rest = bytes;
    loop {
        match decoder.next(&mut rest, &LIMITS, clock.mono()) {
            Ok(Some(Event::Text(text))) => encode::append(out, Opcode::Text, text.as_bytes()),
            Ok(Some(Event::Binary(bytes))) => encode::append(out, Opcode::Binary, bytes),
            Ok(Some(Event::Ping(payload))) => encode::append(out, Opcode::Pong, payload),
            Ok(Some(Event::Pong(_))) => {}
            Ok(Some(Event::Close { code, .. })) => out.extend_from_slice(&encode::close_reply(code)),
            Ok(None) => return,
            Err(violation) => {
                let info = violation.close.info();
                out.extend_from_slice(&encode::close(info.number, info.reason));
                return;
            }
        }
    }
}

async fn handshake(socket: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= 8192 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(socket.read_u8().await?);
    }
    let key = String::from_utf8_lossy(&head).lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| derive_accept_key(value.trim().as_bytes()))
    });
    let accept = key.ok_or(io::ErrorKind::InvalidData)?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    socket.write_all(answer.as_bytes()).await
}
