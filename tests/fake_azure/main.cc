// The fake as a program: for benchmarks and end-to-end tests.
#include "tests/fake_azure/certificate.h"
#include "tests/fake_azure/fake_azure.h"

#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

#include <CLI/CLI.hpp>

namespace {

int run(int argc, char** argv) {
    using namespace cw::fake_azure;
    FakeAzureOptions options;
    std::string port_file, store = "memory", faults_file, self_signed;
    std::vector<std::string> tls;
    CLI::App app{"A strict fake of Azure Blob storage"};
    app.add_option("--port", options.port, "port on 127.0.0.1; 0: any free one");
    app.add_option("--port-file", port_file, "the port is written here once it listens");
    app.add_option("--store", store, "memory, or discard: bodies above 256 KiB are thrown away")
        ->check(CLI::IsMember({"memory", "discard"}));
    app.add_option("--tls", tls, "certificate and key, PEM")->expected(2);
    app.add_option("--self-signed", self_signed,
                   "serve TLS with a fresh certificate, written to this directory");
    app.add_option("--faults", faults_file, "fault rules, JSON");
    app.add_option("--seed", options.seed, "of the fault probabilities");
    app.add_option("--arc-key-file", options.arc_key_file, "where Arc's challenge is put");
    app.add_option("--token-file", options.token_file, "tokens issued are appended here");
    app.add_option("--received-file", options.received_file,
                   "requests are appended here, without what they prove themselves with");
    CLI11_PARSE(app, argc, argv);

    options.discard = store == "discard";
    if (!self_signed.empty()) {
        const CertificateFiles files = make_certificate(self_signed);
        tls = {files.certificate, files.key};
    }
    if (!tls.empty()) {
        options.certificate = tls[0];
        options.key = tls[1];
    }
    // Blocked before any thread starts, so that only sigwait() below sees them.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    FakeAzure fake(options);
    if (!faults_file.empty()) {
        std::ifstream file(faults_file);
        std::ostringstream text;
        text << file.rdbuf();
        auto rules = parse_fault_rules(text.str());
        if (!file || !rules) {
            std::cerr << "fake_azure: cannot use " << faults_file << '\n';
            return 2;
        }
        fake.faults().replace(std::move(*rules));
    }
    std::cout << "url " << fake.url() << "\naccount " << test_account << "\nkey " << test_key
              << std::endl;
    if (!port_file.empty()) {
        // Renamed into place: whoever waits for the file never reads half of it.
        const std::string partial = port_file + ".part";
        std::ofstream(partial) << fake.port() << '\n';
        std::rename(partial.c_str(), port_file.c_str());
    }
    int signal = 0;
    sigwait(&signals, &signal);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::cerr << "fake_azure: " << error.what() << '\n';
        return 1;
    }
}
