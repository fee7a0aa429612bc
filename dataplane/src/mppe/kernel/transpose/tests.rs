//! Every transposition that this CPU can do against the definition. No assembly is called, so that
//! Miri can run these.

use super::*;

fn row_of(step: usize) -> Row {
    std::array::from_fn(|lane| (step * 29 + lane * 101).to_le_bytes()[0])
}

fn transposes<T: Transpose>() {
    let Some(transpose) = T::detect() else { return };
    let keys: [Key; LANES] = std::array::from_fn(|lane| {
        std::array::from_fn(|octet| (lane * 16 + octet).to_le_bytes()[0])
    });
    let rows = transpose.keys_to_rows(&keys);
    for (octet, row) in rows.iter().enumerate() {
        assert_eq!(*row, keys.map(|key| key[octet]));
    }
    assert_eq!(transpose.rows_to_octets(&rows), keys);

    let rows: [Row; MAX_STEPS] = std::array::from_fn(row_of);
    for steps in [1, 31, 32, 33, 64, 65, 200, 255, MAX_STEPS] {
        let mut lanes = [[0; MAX_STEPS]; LANES];
        transpose.rows_to_lanes(&rows, steps, &mut lanes);
        for (lane, octets) in lanes.iter().enumerate() {
            assert!(octets[..steps].iter().zip(&rows).all(|(octet, row)| *octet == row[lane]));
        }
    }
}

/// The payload has an allocation of its own, whose end is the payload's.
fn applies<T: Transpose>() {
    let Some(transpose) = T::detect() else { return };
    let keystream: [u8; MAX_STEPS] = std::array::from_fn(|step| row_of(step)[0]);
    for length in 0..=MAX_STEPS {
        let mut payload = vec![0x5A; length].into_boxed_slice();
        transpose.xor(&mut payload, &keystream);
        assert!(payload.iter().zip(keystream).all(|(octet, key)| *octet == 0x5A ^ key), "{length}");
    }
}

#[test]
fn avx2_transposes_and_applies() {
    transposes::<Avx2>();
    applies::<Avx2>();
}

#[test]
fn avx512_transposes_and_applies() {
    transposes::<Avx512>();
    applies::<Avx512>();
}
