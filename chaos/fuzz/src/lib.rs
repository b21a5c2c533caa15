//! Every parser of foreign bytes, as a function of a byte slice.
