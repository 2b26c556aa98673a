//! MOS: the E-model of ITU-T G.107.
