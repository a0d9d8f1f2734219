// blob_tool URL put NAME FILE | get NAME FILE | list | create: our client as a command, so that
// other programs can be asked what they think of its objects. Emulator credentials only.
#include "base/random.h"
#include "egress/blob/azure_store.h"

#include <fstream>
#include <iostream>
#include <iterator>

namespace {

using namespace cw;
using namespace cw::blob;

int report(const Result<void>& result) {
    if (!result) {
        std::cerr << to_string(result.error()) << '\n';
    }
    return result ? 0 : 1;
}

Result<void> put(BlobStore& store, const std::string& name, const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string body{std::istreambuf_iterator<char>(file), {}};
    // Scattered, as segments are.
    const Bytes bytes = as_bytes(body);
    const std::size_t half = bytes.size() / 2;
    const PutResult result = put_and_wait(store, {.name = {Container::data, name},
                                                  .body = {bytes.first(half), bytes.subspan(half)},
                                                  .metadata = {{"nonce", "0123456789abcdef"}}});
    return result.error ? Result<void>(std::unexpected(*result.error)) : Result<void>{};
}

Result<void> get(BlobStore& store, const std::string& name, const std::string& path) {
    CW_TRY_ASSIGN(const GetResult got, get_and_wait(store, {.name = {Container::data, name}}));
    std::ofstream(path, std::ios::binary) << as_text(got.bytes);
    return {};
}

Result<void> list(BlobStore& store) {
    CW_TRY_ASSIGN(const auto entries, list_all(store, Container::data, ""));
    for (const ListPage::Entry& entry : entries) {
        std::cout << entry.name << ' ' << entry.size << '\n';
    }
    return {};
}

int run(const std::vector<std::string>& arguments) {
    const auto clock = make_system_clock();
    const auto random = make_system_random();
    AzureOptions options;
    options.url = arguments.at(0);
    options.auth = AzureAuth::emulator;
    auto factory = make_azure_factory(std::move(options), *clock, *random);
    if (!factory) {
        std::cerr << to_string(factory.error()) << '\n';
        return 1;
    }
    const auto store = (*factory)->make();
    const std::string& command = arguments.at(1);
    if (command == "create") {
        return report(create_containers_and_wait(*store));
    }
    if (command == "list") {
        return report(list(*store));
    }
    if (command == "put") {
        return report(put(*store, arguments.at(2), arguments.at(3)));
    }
    if (command == "get") {
        return report(get(*store, arguments.at(2), arguments.at(3)));
    }
    std::cerr << "unknown command\n";
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        std::cerr << "blob_tool: " << error.what() << '\n';
        return 2;
    }
}
