#include "appliance/control_client.h"

#include <chrono>

#include <httplib.h>
#include <nlohmann/json.hpp>

namespace cw::appliance {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

// It is not there, or it is and says nothing, or it ended the connection: an operator does
// something else about each. The library has one error for the last two: time tells them apart.
std::unexpected<Error> no_answer(httplib::Error error, const std::string& socket_path,
                                 std::int64_t patience_s, SteadyTime asked) {
    const std::string evidence = " (" + httplib::to_string(error) + ")";
    if (error == httplib::Error::Connection) {
        return fail(Errc::unreachable, "no daemon listens on " + socket_path + evidence +
                                           ": systemctl start causewayd");
    }
    const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - asked);
    constexpr std::chrono::milliseconds tick{100};  // Of a wait that was cut off.
    if (waited + tick < std::chrono::seconds(patience_s)) {
        return fail(Errc::unreachable,
                    "the daemon of " + socket_path + " ended the connection after " +
                        std::to_string(waited.count()) + " ms, without an answer" + evidence +
                        ": it may be starting, ending or have died, and an order may have been "
                        "carried out or not: systemctl status causewayd, then ask again");
    }
    return fail(Errc::unreachable, "the daemon of " + socket_path + " gave no answer within " +
                                       std::to_string(patience_s) + " s" + evidence +
                                       ": systemctl status causewayd");
}

// Empty where it is no text: who answers may be another program.
std::string text_of(const nlohmann::json& problem, const char* key) {
    const auto found = problem.find(key);
    return found != problem.end() && found->is_string() ? found->get<std::string>() : "";
}

Result<std::string> read_answer(const httplib::Result& result, const std::string& socket_path,
                                std::int64_t patience_s, SteadyTime asked) {
    if (!result) {
        return no_answer(result.error(), socket_path, patience_s, asked);
    }
    if (result->status == 200) {
        return result->body;
    }
    const auto problem = nlohmann::json::parse(result->body, nullptr, false);
    if (problem.is_object() && problem.contains("number") && problem["number"].is_number()) {
        const auto code = errc_from_number(problem["number"].get<std::uint16_t>());
        return std::unexpected(Error{.code = code.value_or(Errc::internal),
                                     .detail = text_of(problem, "detail"),
                                     .next = text_of(problem, "next")});
    }
    return fail(Errc::internal, "HTTP status " + std::to_string(result->status));
}

httplib::Client make_client(const std::string& socket_path, std::int64_t patience_s) {
    httplib::Client client(socket_path, 80);
    client.set_address_family(AF_UNIX);
    client.set_connection_timeout(patience_s);
    client.set_read_timeout(patience_s);
    return client;
}

}  // namespace

Result<std::string> ControlClient::get(const std::string& name) const {
    auto client = make_client(socket_path, question_s);
    const auto asked = std::chrono::steady_clock::now();
    return read_answer(client.Get("/v1/" + name), socket_path, question_s, asked);
}

Result<std::string> ControlClient::post(const std::string& name, const std::string& json) const {
    auto client = make_client(socket_path, order_s_max);
    const auto asked = std::chrono::steady_clock::now();
    return read_answer(client.Post("/v1/" + name, json, "application/json"), socket_path,
                       order_s_max, asked);
}

}  // namespace cw::appliance
