//! Numbers of few bits as runs of the same number and groups of different ones: the
//! hybrid of the Parquet format ("Run Length Encoding / Bit-Packing Hybrid"), cut
//! into runs as [`parquet`] cuts them.

/// Numbers that are packed together, and most of such groups that follow one another.
pub(super) const GROUP: usize = 8;
const GROUPS: usize = 63;

/// Appends numbers of `width` bits.
pub(super) fn packed(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    let same = |group: &[u32]| group.iter().all(|number| *number == group[0]);
    let (mut from, mut at) = (0, 0);
    while let Some(group) = numbers.get(at..at + GROUP) {
        if same(group) {
            grouped(&numbers[from..at], width, out);
            let length = numbers[at..].iter().take_while(|number| **number == group[0]).count();
            repeated(group[0], length, width, out);
            at += length;
            from = at;
        } else {
            at += GROUP;
            if at - from == GROUPS * GROUP {
                grouped(&numbers[from..at], width, out);
                from = at;
            }
        }
    }
    let rest = &numbers[from..];
    if rest.len() < GROUP && !rest.is_empty() && same(rest) {
        repeated(rest[0], rest.len(), width, out);
    } else {
        grouped(rest, width, out);
    }
}

/// One number, `length` times.
pub(super) fn repeated(number: u32, length: usize, width: u32, out: &mut Vec<u8>) {
    let mut header = length << 1;
    while header > 127 {
        out.push(header as u8 | 128);
        header >>= 7;
    }
    out.push(header as u8);
    out.extend_from_slice(&number.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// Different numbers; zeros fill the last group.
fn grouped(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(GROUP);
    out.push((groups << 1) as u8 | 1);
    let end = out.len() + groups * width as usize;
    let (mut bits, mut filled) = (0_u64, 0);
    for number in numbers {
        bits |= u64::from(*number) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            filled -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes());
    out.resize(end, 0);
}
