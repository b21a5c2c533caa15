//! CRC-32C by tables, eight bytes a step ("slicing by 8", Kounavis and Berry 2005). The reference for every other kernel.

/// The generator polynomial, bit-reflected.
pub(super) const POLYNOMIAL: u32 = 0x82F6_3B78;

/// `TABLES[n][b]` is the remainder of the byte `b` followed by `n` zero bytes.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = remainder >> 1 ^ if remainder & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[zeros - 1][byte];
            tables[zeros][byte] = shorter >> 8 ^ tables[0][(shorter & 0xFF) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// Continues `crc` over `bytes`.
pub(super) fn append(crc: u32, bytes: &[u8]) -> u32 {
    let mut state = !crc;
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let [a, b, c, d] = (state ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]])).to_le_bytes();
        state = TABLES[7][usize::from(a)]
            ^ TABLES[6][usize::from(b)]
            ^ TABLES[5][usize::from(c)]
            ^ TABLES[4][usize::from(d)]
            ^ TABLES[3][usize::from(word[4])]
            ^ TABLES[2][usize::from(word[5])]
            ^ TABLES[1][usize::from(word[6])]
            ^ TABLES[0][usize::from(word[7])];
    }
    for &byte in tail {
        state = state >> 8 ^ TABLES[0][usize::from(state as u8 ^ byte)];
    }
    !state
}
