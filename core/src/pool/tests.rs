//! Slots, guards over them and what may be changed: tables, and random steps against a model.

use super::*;
use proptest::prelude::*;

fn filled(slot: &mut Slot, bytes: &[u8]) -> Buf {
    let write = |room: &mut [u8]| {
        room[..bytes.len()].copy_from_slice(bytes);
        Ok::<_, ()>(bytes.len())
    };
    slot.fill(bytes.len(), write).unwrap()
}

#[test]
fn sizes_out_of_range_are_refused() {
    let cases = [
        (0, 64, Err(PoolError::Slots(0))),
        (1, 64, Err(PoolError::Slots(1))),
        (2, 64, Ok(())),
        (32_768, 64, Ok(())),
        (32_769, 64, Err(PoolError::Slots(32_769))),
        (2, 63, Err(PoolError::SlotLen(63))),
        (2, (1 << 30) + 1, Err(PoolError::SlotLen((1 << 30) + 1))),
    ];
    for (slots, slot_len, expected) in cases {
        assert_eq!(Pool::new(slots, slot_len).map(drop), expected, "{slots} x {slot_len}");
    }
}

#[test]
fn the_most_recently_freed_slot_comes_first() {
    let pool = Pool::new(8, 64).unwrap();
    let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
    let (first, second) = (a.index(), b.index());
    drop(b);
    drop(a);
    assert_eq!(pool.take().unwrap().index(), first);
    assert_eq!(pool.take().map(|slot| slot.index()), Some(first), "it came back at once");
    assert_ne!(first, second);
}

#[test]
fn a_slot_filled_in_parts_is_free_when_all_guards_are_gone() {
    let pool = Pool::new(2, 64).unwrap();
    let mut slot = pool.take().unwrap();
    let parts: Vec<Buf> = (0..4).map(|n| filled(&mut slot, &[n; 16])).collect();
    assert_eq!((slot.room(), pool.guarded()), (0, 1));
    assert!(!slot.rewind(), "guards forbid it");
    drop(slot);
    for (n, part) in (0..4).zip(&parts) {
        assert_eq!(&part[..], &[n; 16]);
    }
    let tail = parts[3].slice(8..16);
    drop(parts);
    assert_eq!((pool.free(), pool.guarded()), (1, 1), "a slice is a guard");
    drop(tail);
    assert_eq!((pool.free(), pool.guarded()), (2, 0));
}

#[test]
fn a_rewound_slot_is_the_same_memory_again() {
    let pool = Pool::new(2, 64).unwrap();
    let mut slot = pool.take().unwrap();
    let place = slot.room_ptr();
    drop(filled(&mut slot, b"once"));
    assert!(slot.rewind());
    assert_eq!((slot.room_ptr(), slot.room()), (place, 64));
}

#[test]
fn only_a_sole_guard_can_be_changed() {
    let pool = Pool::new(2, 64).unwrap();
    let mut slot = pool.take().unwrap();
    let mut buf = filled(&mut slot, b"secret");
    let other = buf.clone();
    assert!(buf.get_mut().is_none());
    drop(other);
    buf.get_mut().unwrap().make_ascii_uppercase();
    assert_eq!(&buf[..], b"SECRET");
    let mut heap = Buf::copied(b"abc");
    let part = heap.slice(1..2);
    assert!(heap.get_mut().is_none());
    drop(part);
    heap.get_mut().unwrap()[0] = b'x';
    assert_eq!(&heap[..], b"xbc");
}

#[test]
fn what_one_read_brought_can_be_changed_beside_what_another_did() {
    let pool = Pool::new(2, 64).unwrap();
    let mut slot = pool.take().unwrap();
    let (mut first, mut second) = (filled(&mut slot, b"first"), filled(&mut slot, b"second"));
    for buf in [&mut first, &mut second] {
        buf.get_mut().unwrap().make_ascii_uppercase();
    }
    assert_eq!((&first[..], &second[..]), (&b"FIRST"[..], &b"SECOND"[..]));
    let part = first.slice(0..1);
    drop(part);
    assert!(first.get_mut().is_none(), "it may have been sliced for somebody else");
    assert!(second.get_mut().is_some());
    let copies = [second.clone()];
    assert!(second.get_mut().is_none());
    drop((first, copies));
    assert!(second.get_mut().is_some(), "the last guard");
}

#[test]
fn a_vector_is_taken_over_as_it_is() {
    let mut bytes = Vec::with_capacity(3);
    bytes.extend_from_slice(b"abc");
    let place = bytes.as_ptr();
    let mut buf = Buf::from(bytes);
    assert_eq!((buf.as_ptr(), buf.in_slot()), (place, false));
    buf.get_mut().unwrap()[1] = b'x';
    assert_eq!(&buf[..], b"axc");
}

#[test]
fn a_failed_fill_changes_nothing() {
    let pool = Pool::new(2, 64).unwrap();
    let mut slot = pool.take().unwrap();
    assert_eq!(slot.fill(64, |_| Err::<usize, _>("no")).unwrap_err(), "no");
    assert_eq!((slot.room(), pool.guarded()), (64, 0));
}

#[test]
fn storing_spills_from_the_first_slot_past_the_half() {
    let pool = Pool::new(4, 64).unwrap();
    let mut stored: Vec<Buf> = (0..4).map(|n| filled(&mut pool.take().unwrap(), &[n; 3])).collect();
    assert_eq!((pool.free(), pool.guarded()), (0, 4));
    for buf in &mut stored {
        buf.spill_if_scarce();
    }
    assert_eq!(stored.iter().map(Buf::in_slot).collect::<Vec<_>>(), [false, false, true, true]);
    assert_eq!((pool.free(), pool.spilled()), (2, 2));
    for (n, buf) in (0..4).zip(&stored) {
        assert_eq!(&buf[..], &[n; 3], "the copy is the same bytes");
    }
}

#[test]
fn a_guard_stays_small() {
    // It is moved through every queue, once per message.
    assert_eq!(size_of::<Buf>(), 24);
    assert_eq!(size_of::<Option<Buf>>(), 24);
}

#[test]
fn guards_outlive_the_pool_handle() {
    let pool = Pool::new(2, 64).unwrap();
    let buf = filled(&mut pool.take().unwrap(), b"still here");
    drop(pool);
    assert_eq!(&buf[..], b"still here");
}

#[test]
#[should_panic(expected = "claims")]
fn a_read_that_claims_too_much_is_caught() {
    let pool = Pool::new(2, 64).unwrap();
    drop(pool.take().unwrap().fill(8, |_| Ok::<_, ()>(9)));
}

proptest! {
    /// Random takes, fills, clones, slices, changes, spills and drops against a model of the bytes.
    #[test]
    fn no_order_of_calls_loses_a_slot_or_a_byte(steps in proptest::collection::vec((0u8..9, any::<u8>()), 1..400)) {
        let pool = Pool::new(4, 64).unwrap();
        let mut slots: Vec<Slot> = Vec::new();
        let mut bufs: Vec<(Buf, Vec<u8>)> = Vec::new();
        for (step, byte) in steps {
            let pick = usize::from(byte);
            match step {
                0 => slots.extend(pool.take()),
                1 if !slots.is_empty() => drop(slots.swap_remove(pick % slots.len())),
                2 | 3 if !slots.is_empty() => {
                    let slot = pick % slots.len();
                    let len = (pick % 9).min(slots[slot].room() as usize);
                    let bytes = vec![byte; len];
                    bufs.push((filled(&mut slots[slot], &bytes), bytes));
                }
                4 if !bufs.is_empty() => bufs.push(bufs[pick % bufs.len()].clone()),
                5 if !bufs.is_empty() => drop(bufs.swap_remove(pick % bufs.len())),
                6 if !bufs.is_empty() => {
                    let (buf, model) = &bufs[pick % bufs.len()];
                    let cut = model.len() / 2;
                    let part = (buf.slice(cut..model.len()), model[cut..].to_vec());
                    bufs.push(part);
                }
                7 if !bufs.is_empty() => {
                    let at = pick % bufs.len();
                    bufs[at].0.spill_if_scarce();
                }
                8 if !bufs.is_empty() => {
                    let at = pick % bufs.len();
                    let (buf, model) = &mut bufs[at];
                    if let Some(bytes) = buf.get_mut() {
                        bytes.fill(byte);
                        model.fill(byte);
                    }
                }
                _ => for slot in &mut slots { slot.rewind(); },
            }
            for (buf, model) in &bufs {
                prop_assert_eq!(&buf[..], &model[..]);
            }
        }
        drop(slots);
        drop(bufs);
        prop_assert_eq!((pool.free(), pool.guarded()), (4, 0));
    }
}
