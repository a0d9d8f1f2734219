// Microsoft's own SDK as an independent reader and writer of our objects.
// azure_sdk_reader.js URL CONTAINER FILES_DIR: lists and compares, then writes sdk/written.
// azure_sdk_reader.js URL --sas: prints an account SAS for azcopy.
// azure_sdk_reader.js URL --save DIR PREFIX AUTH FILE: lists the containers PREFIX-…, reads each blob in them and saves it as
// DIR/container/name; AUTH is shared-key, sas or fixed-token, FILE holds the credential.
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

function serviceWith(url, auth, secret) {
    if (auth === "sas") {
        return new BlobServiceClient(`${url}?${secret}`);
    }
    if (auth === "fixed-token") {
        const getToken = async () => ({ token: secret, expiresOnTimestamp: Date.now() + 3600 * 1000 });
        return new BlobServiceClient(url, { getToken });
    }
    return new BlobServiceClient(url, new StorageSharedKeyCredential("devstoreaccount1", secret));
}

async function save(url, directory, prefix, auth, file) {
    const service = serviceWith(url, auth, fs.readFileSync(file, "utf8").trim());
    for await (const found of service.listContainers({ prefix: `${prefix}-` })) {
        const container = service.getContainerClient(found.name);
        for await (const blob of container.listBlobsFlat({ includeMetadata: true })) {
            assert.strictEqual(blob.properties.blobType, "BlockBlob");
            const bytes = await container.getBlobClient(blob.name).downloadToBuffer();
            assert.strictEqual(bytes.length, blob.properties.contentLength, blob.name);
            const target = path.join(directory, found.name.slice(prefix.length + 1), blob.name);
            fs.mkdirSync(path.dirname(target), { recursive: true });
            fs.writeFileSync(target, bytes);
        }
    }
}

const [url, target, directory, ...more] = process.argv.slice(2);
const failed = (error) => {
    console.error(error);
    process.exit(1);
};
if (target === "--sas") {
    printSas();
} else if (target === "--save") {
    save(url, directory, ...more).catch(failed);
} else {
    compare(url, target, directory).catch(failed);
}
