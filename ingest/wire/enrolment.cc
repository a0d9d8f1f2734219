#include "ingest/wire/enrolment.h"

#include <nlohmann/json.hpp>

namespace cw::wire {
namespace {

using nlohmann::json;

Result<json> parse_object(std::string_view text) {
    if (text.size() > enrol_bytes_max) {
        return fail(Errc::usage, "an enrolment message is too long");
    }
    json object = json::parse(text, nullptr, false);
    if (!object.is_object()) {
        return fail(Errc::usage, "an enrolment message is not a JSON object");
    }
    return object;
}

Result<std::string> text_of(const json& object, const char* key, bool wanted) {
    const auto found = object.find(key);
    if (found == object.end() && !wanted) {
        return std::string();
    }
    if (found == object.end() || !found->is_string()) {
        return fail(Errc::usage, std::string("an enrolment message has no text '") + key + "'");
    }
    return found->get<std::string>();
}

std::string dump(const json& object) {
    return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

Secret<std::string> encode(const EnrolRequest& request) {
    json object{{"csr", request.csr}, {"name", request.name}};
    if (!request.token.reveal().empty()) {
        object["token"] = request.token.reveal();
    }
    if (request.machine) {
        object["machine"] = to_string(*request.machine);
    }
    return Secret<std::string>(dump(object));
}

std::string encode(const EnrolAnswer& answer) {
    return dump({{"machine", to_string(answer.machine)},
                 {"certificate", answer.certificate},
                 {"authorities", answer.authorities},
                 {"replication_port", answer.replication_port}});
}

Result<EnrolRequest> parse_enrol_request(std::string_view text) {
    CW_TRY_ASSIGN(const json object, parse_object(text));
    EnrolRequest request;
    CW_TRY_ASSIGN(std::string token, text_of(object, "token", false));
    request.token = Secret(std::move(token));
    CW_TRY_ASSIGN(request.csr, text_of(object, "csr", true));
    CW_TRY_ASSIGN(request.name, text_of(object, "name", false));
    CW_TRY_ASSIGN(const std::string machine, text_of(object, "machine", false));
    if (!machine.empty()) {
        CW_TRY_ASSIGN(request.machine, parse_id<MachineId>(machine));
    }
    return request;
}

Result<EnrolAnswer> parse_enrol_answer(std::string_view text) {
    CW_TRY_ASSIGN(const json object, parse_object(text));
    EnrolAnswer answer;
    CW_TRY_ASSIGN(const std::string machine, text_of(object, "machine", true));
    CW_TRY_ASSIGN(answer.machine, parse_id<MachineId>(machine));
    CW_TRY_ASSIGN(answer.certificate, text_of(object, "certificate", true));
    CW_TRY_ASSIGN(answer.authorities, text_of(object, "authorities", true));
    const auto port = object.find("replication_port");
    if (port == object.end() || !port->is_number_unsigned() ||
        port->get<std::uint64_t>() > UINT16_MAX) {
        return fail(Errc::usage, "an enrolment answer has no port");
    }
    answer.replication_port = port->get<std::uint16_t>();
    return answer;
}

}  // namespace cw::wire
