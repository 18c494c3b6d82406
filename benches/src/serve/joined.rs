//! Control messages of UDP: how long each of several joined packets is (udp(7)).

/// One control message, as the kernel reads and writes it, with room for any value of UDP's.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Control {
    header: libc::cmsghdr,
    value: [u8; 8],
}

impl Control {
    pub(super) const LEN: usize = size_of::<Self>();
    pub(super) const NONE: Self =
        Self { header: libc::cmsghdr { cmsg_len: 0, cmsg_level: 0, cmsg_type: 0 }, value: [0; 8] };

    /// Has the kernel cut what is sent into packets of so many bytes.
    pub(super) const fn cut(size: u16) -> Self {
        let cmsg_len = size_of::<libc::cmsghdr>() + size_of::<u16>();
        let [low, high] = size.to_ne_bytes();
        Self {
            header: libc::cmsghdr {
                cmsg_len,
                cmsg_level: libc::SOL_UDP,
                cmsg_type: libc::UDP_SEGMENT,
            },
            value: [low, high, 0, 0, 0, 0, 0, 0],
        }
    }

    /// What stands in `bytes`, if there is a whole message.
    pub(super) fn read(bytes: &[u8]) -> Self {
        const HEADER_LEN: usize = size_of::<libc::cmsghdr>();
        let Some((header, value)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Self::NONE;
        };
        let (len, kind) = header.split_at(size_of::<usize>());
        let (level, kind) = kind.split_at(size_of::<i32>());
        let number =
            |bytes: &[u8]| i32::from_ne_bytes(*bytes.first_chunk().expect("of that length"));
        let mut message = Self {
            header: libc::cmsghdr {
                cmsg_len: usize::from_ne_bytes(*len.first_chunk().expect("of that length")),
                cmsg_level: number(level),
                cmsg_type: number(kind),
            },
            ..Self::NONE
        };
        let value_len = value.len().min(message.value.len());
        message.value[..value_len].copy_from_slice(&value[..value_len]);
        message
    }

    /// How long each of the packets received with this message is; `None` for a single one.
    pub(super) fn joined(&self) -> Option<u16> {
        let is_size = (self.header.cmsg_level, self.header.cmsg_type)
            == (libc::SOL_UDP, libc::UDP_GRO)
            && self.header.cmsg_len >= size_of::<libc::cmsghdr>() + size_of::<i32>();
        let size = i32::from_ne_bytes(*self.value.first_chunk().expect("longer than that"));
        is_size.then(|| u16::try_from(size).ok()).flatten()
    }
}
