package pool

// Silence is how long a connection may be silent.
const Silence = silence
