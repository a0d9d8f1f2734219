// Microsoft's own SDK as an independent reader and writer of our objects.
// azure_sdk_reader.js URL CONTAINER FILES_DIR: lists and compares, then writes sdk/written.
// azure_sdk_reader.js URL --sas: prints an account SAS for azcopy.
"use strict";
const assert = require("assert");
const fs = require("fs");
const path = require("path");
const {
    AccountSASPermissions, AccountSASResourceTypes, AccountSASServices, BlobServiceClient,
    generateAccountSASQueryParameters, SASProtocol, StorageSharedKeyCredential,
} = require("@azure/storage-blob");

const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const credential = new StorageSharedKeyCredential("devstoreaccount1", key);

function printSas() {
    const sas = generateAccountSASQueryParameters({
        expiresOn: new Date(Date.now() + 3600 * 1000),
        permissions: AccountSASPermissions.parse("rl"),
        protocol: SASProtocol.HttpsAndHttp,
        resourceTypes: AccountSASResourceTypes.parse("sco").toString(),
        services: AccountSASServices.parse("b").toString(),
    }, credential);
    console.log(sas.toString());
}

async function compare(url, containerName, directory) {
    const container = new BlobServiceClient(url, credential).getContainerClient(containerName);
    const sizes = new Map();
    for await (const blob of container.listBlobsFlat({ includeMetadata: true })) {
        sizes.set(blob.name, blob.properties.contentLength);
        assert.strictEqual(blob.properties.blobType, "BlockBlob");
        assert.deepStrictEqual(blob.metadata, { nonce: "0123456789abcdef" });
    }
    assert.strictEqual(sizes.size, 3);
    for (const name of ["large", "small", "empty"]) {
        const expected = fs.readFileSync(path.join(directory, name));
        assert.strictEqual(sizes.get(`0ab/machine/${name}.seg`), expected.length);
        const got = await container.getBlobClient(`0ab/machine/${name}.seg`).downloadToBuffer();
        assert.ok(got.equals(expected), name);
    }
    // Create-only holds against the SDK's writes too.
    const taken = container.getBlockBlobClient("0ab/machine/small.seg");
    await assert.rejects(taken.upload("x", 1, { conditions: { ifNoneMatch: "*" } }), { code: "BlobAlreadyExists" });
    const large = fs.readFileSync(path.join(directory, "large"));
    await container.getBlockBlobClient("sdk/written").uploadData(large, { blockSize: 1 << 20, maxSingleShotSize: 1 << 20 });
}

const [url, target, directory] = process.argv.slice(2);
if (target === "--sas") {
    printSas();
} else {
    compare(url, target, directory).catch((error) => {
        console.error(error);
        process.exit(1);
    });
}
