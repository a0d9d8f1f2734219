// Expands settings.def once and forgets the row macros; includer defines the ones it needs.
#include "config/settings.def"
#undef CW_INTEGER
#undef CW_BYTES
#undef CW_DURATION
#undef CW_RATE
#undef CW_BOOLEAN
#undef CW_TEXT
#undef CW_CHOICE
