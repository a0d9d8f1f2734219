// What an order says, POST /v1/NAME: one JSON object with the fields of that order and no other,
// each of its kind. An order that is understood in part is another order than the one given.
//
// Thread-safety: free functions without state.
#pragma once

#include "base/error.h"

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace cw::appliance {

enum class FieldKind : std::uint8_t {
    text,
    truth,   // true or false
    number,  // Whole, not negative, within 63 bits.
};

struct OrderField {
    std::string_view name;
    FieldKind kind;
    bool required = false;
};

// The object, sound; an empty body is one without fields. Errors: usage, with what the order has.
Result<nlohmann::json> read_order(std::string_view body, std::initializer_list<OrderField> fields);

// The order was understood and cannot be meant. Errors: usage with this detail.
std::unexpected<Error> refuse_order(std::string detail);

}  // namespace cw::appliance
