#include "appliance/control_client.h"

#include <httplib.h>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

Result<std::string> read_answer(const httplib::Result& result, const std::string& socket_path) {
    if (!result) {
        return fail(Errc::unreachable, "no daemon answers on " + socket_path + " (" +
                                           httplib::to_string(result.error()) + ")");
    }
    if (result->status == 200) {
        return result->body;
    }
    const auto problem = nlohmann::json::parse(result->body, nullptr, false);
    if (problem.is_object() && problem.contains("number") && problem["number"].is_number()) {
        const auto code = errc_from_number(problem["number"].get<std::uint16_t>());
        return fail(code.value_or(Errc::internal), problem.value("detail", std::string{}));
    }
    return fail(Errc::internal, "HTTP status " + std::to_string(result->status));
}

httplib::Client make_client(const std::string& socket_path) {
    httplib::Client client(socket_path, 80);
    client.set_address_family(AF_UNIX);
    client.set_read_timeout(120);
    return client;
}

}  // namespace

Result<std::string> ControlClient::get(const std::string& name) const {
    auto client = make_client(socket_path);
    return read_answer(client.Get("/v1/" + name), socket_path);
}

Result<std::string> ControlClient::post(const std::string& name, const std::string& json) const {
    auto client = make_client(socket_path);
    return read_answer(client.Post("/v1/" + name, json, "application/json"), socket_path);
}

}  // namespace cw::appliance
