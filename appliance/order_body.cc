#include "appliance/order_body.h"

#include "base/log.h"

#include <algorithm>
#include <string>

#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using nlohmann::json;

constexpr std::size_t name_shown_max = 40;

bool is_of(FieldKind kind, const json& value) {
    switch (kind) {
        case FieldKind::text:
            return value.is_string();
        case FieldKind::truth:
            return value.is_boolean();
        case FieldKind::number:
            return value.is_number_unsigned() && value.get<std::uint64_t>() <= INT64_MAX;
    }
    return false;
}

std::string_view kind_text(FieldKind kind) {
    return kind == FieldKind::text    ? "text"
           : kind == FieldKind::truth ? "true or false"
                                      : "a whole number that is not negative";
}

std::string names_of(std::initializer_list<OrderField> fields) {
    std::string out;
    for (const OrderField& field : fields) {
        out += (out.empty() ? "" : ", ") + std::string(field.name);
    }
    return out.empty() ? "no fields" : out;
}

}  // namespace

std::unexpected<Error> refuse_order(std::string detail) {
    return std::unexpected(Error{Errc::usage, std::move(detail),
                                 "mend the order's body, or give it with `causeway`; nothing was "
                                 "done"});
}

Result<json> read_order(std::string_view body, std::initializer_list<OrderField> fields) {
    json order = body.empty() ? json::object() : json::parse(body, nullptr, false);
    if (!order.is_object()) {
        return refuse_order("the body is not a JSON object");
    }
    for (const auto& [name, value] : order.items()) {
        const auto* const field = std::ranges::find(fields, name, &OrderField::name);
        if (field == fields.end()) {
            return refuse_order("the order has no field " +
                                escape_for_display(name, name_shown_max) + ", it has " +
                                names_of(fields));
        }
        if (!is_of(field->kind, value)) {
            return refuse_order(std::string(field->name) + " is " +
                                std::string(kind_text(field->kind)));
        }
    }
    for (const OrderField& field : fields) {
        if (field.required && !order.contains(field.name)) {
            return refuse_order("the order lacks " + std::string(field.name));
        }
    }
    return order;
}

}  // namespace cw::appliance
